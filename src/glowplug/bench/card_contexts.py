"""Part `contexts` of `card`: what a process's context takes of a card, and for how long it opens."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from glowplug.bench.result import spread
from glowplug.loader.devices.cuda import card_bytes

_OPEN = """
import json, sys, time
import torch
start_s = time.monotonic()
torch.cuda.init()
torch.zeros(1, device=sys.argv[1])
torch.cuda.synchronize()
context_s = time.monotonic() - start_s
torch.ones(8, 8, device=sys.argv[1]) @ torch.ones(8, 8, device=sys.argv[1])
torch.cuda.synchronize()
print(json.dumps([context_s, time.monotonic() - start_s]), flush=True)
sys.stdin.readline()
"""
"""The second time includes a first product: the library for it is loaded into the context then."""


def rows(device: str, repeats: int) -> list[dict[str, Any]]:
    """One process at a time opens a context; what is free is asked of the driver before and meanwhile. Raises
    RuntimeError when one fails."""
    number = int(device.partition(":")[2] or 0)
    contexts_s, products_s, taken_bytes = [], [], []
    for _ in range(repeats):
        before_bytes = card_bytes(number)
        with subprocess.Popen(
            [sys.executable, "-c", _OPEN, device], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said:
                raise RuntimeError(f"a process could not open a context on {device}")
            taken_bytes.append(before_bytes - card_bytes(number))
            process.stdin.close()
        context_s, product_s = json.loads(said)
        contexts_s.append(context_s)
        products_s.append(product_s)
    taken = spread("context_bytes", taken_bytes)
    return [
        {"part": "contexts", "what": "context", **spread("opened_s", contexts_s), **taken},
        {"part": "contexts", "what": "context and first product", **spread("opened_s", products_s), **taken},
    ]
