"""Part `contexts` of `card`: what a process's context takes of a card, and for how long it opens."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from glowplug.bench.result import spread
from glowplug.loader.devices.cuda import card_bytes
from glowplug.node import procfs

_OPEN = """
import json, sys, time
import torch
from glowplug.loader.devices.cuda import open_cuda
start_s = time.monotonic()
torch.cuda.init()
torch.zeros(1, device=sys.argv[1])
torch.cuda.synchronize()
context_s = time.monotonic() - start_s
torch.ones(8, 8, device=sys.argv[1]) @ torch.ones(8, 8, device=sys.argv[1])
torch.cuda.synchronize()
product_s = time.monotonic() - start_s
open_cuda(int(sys.argv[1].partition(":")[2] or 0)).warm()
print(json.dumps([context_s, product_s, time.monotonic() - start_s]), flush=True)
sys.stdin.readline()
"""
"""The second time includes a first product, the third a convolution too, and is what a context process does
before it is ready: their libraries are loaded into the context then."""
_WHATS = ("context", "context and first product", "context, first product and convolution")


def rows(device: str, repeats: int) -> list[dict[str, Any]]:
    """One process at a time opens a context; what is free is asked of the driver before and when it has all
    three; `host_bytes` are its own then, of the node's memory. Raises RuntimeError when one fails."""
    number = int(device.partition(":")[2] or 0)
    opened_s: list[list[float]] = []
    taken_bytes, host_bytes = [], []
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
            host_bytes.append(procfs.private_dirty_bytes(process.pid))
            process.stdin.close()
        opened_s.append(json.loads(said))
    taken = spread("context_bytes", taken_bytes) | spread("host_bytes", host_bytes)
    return [
        {"part": "contexts", "what": what, **spread("opened_s", seconds), **taken}
        for what, seconds in zip(_WHATS, zip(*opened_s, strict=True), strict=True)
    ]
