"""What every script of this folder does: it warms up once, then measures one load for each line it reads.

    python -m loading.SCRIPT ARCHITECTURE WEIGHTS [THREADS ...]

ARCHITECTURE is a name of `examples/architectures/zoo.py`, or `MODULE:NAME` of anything else that has its
`build()` and `example()`. The warm-up loads WEIGHTS once and runs it for each number of THREADS (by default
torch's own), so that what is imported late, the thread pools and oneDNN's kernel caches are there. Then it
prints `{"ready": true}`.

For each line `{"weights": path or URL, "threads": count}` on stdin it loads and runs once more, and prints
`{"first_answer_s", "second_forward_s", "answer_digest", "phases"}`: seconds from before the module is
constructed, `phases` what they went to, the digest BLAKE2b over the answer's float32 bytes. A failure is
printed as `{"error"}` and ends the process, and so does the end of stdin. Nothing of a load is left when the
next line is read: no tensor, no mapping, and no heap that grew.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Build = Callable[[], nn.Module]
Mark = Callable[[str], None]
"""Called at the end of a phase with its name."""
Load = Callable[[Build, str, Mark], nn.Module]
"""(how to construct the module, weights, mark) -> the module in eval mode, with its weights."""
Answer = Callable[[nn.Module, tuple[Tensor, ...]], Tensor]


def architecture(name: str) -> tuple[Build, tuple[Tensor, ...]]:
    """How to construct it, and an example of its inputs, batch 1."""
    module, _, attribute = name.partition(":")
    if attribute:
        found = getattr(importlib.import_module(module), attribute)
    else:
        found = importlib.import_module("architectures.zoo").ZOO[name]
    return found.build, tuple(found.example())


def forward(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    answer: Tensor = module(*inputs)
    return answer


def serve(load: Load, answer: Answer = forward) -> None:
    """The whole life of a script's process."""
    name, weights, *counts = sys.argv[1:]
    # Libraries that print must not be mistaken for this protocol.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def reply(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=replies, flush=True)

    try:
        with torch.inference_mode():
            build, inputs = architecture(name)
            threads = [int(count) for count in counts] or [torch.get_num_threads()]
            _warm_up(load, answer, build, inputs, weights, threads)
            reply({"ready": True})
            for line in sys.stdin:
                asked = json.loads(line)
                if asked["threads"] not in threads:
                    raise ValueError(f"{asked['threads']} threads were not warmed up, only {threads}")
                torch.set_num_threads(asked["threads"])
                reply(_measure(load, answer, build, inputs, asked["weights"]))
                _forget()
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}"})
        raise


def _warm_up(
    load: Load,
    answer: Answer,
    build: Build,
    inputs: tuple[Tensor, ...],
    weights: str,
    threads: list[int],
) -> None:
    module = load(build, weights, lambda _: None)
    for count in threads:
        torch.set_num_threads(count)
        answer(module, inputs)
    del module
    _forget()


def _measure(
    load: Load, answer: Answer, build: Build, inputs: tuple[Tensor, ...], weights: str
) -> dict[str, Any]:
    phases: dict[str, float] = {}
    start_s = marked_s = time.perf_counter()

    def mark(phase: str) -> None:
        nonlocal marked_s
        now_s = time.perf_counter()
        phases[phase] = phases.get(phase, 0.0) + now_s - marked_s
        marked_s = now_s

    module = load(build, weights, mark)
    first = answer(module, inputs)
    mark("first_compute")
    first_answer_s = marked_s - start_s
    answer(module, inputs)
    second_forward_s = time.perf_counter() - marked_s
    return {
        "first_answer_s": first_answer_s,
        "second_forward_s": second_forward_s,
        "answer_digest": hashlib.blake2b(first.float().contiguous().numpy().tobytes()).hexdigest(),
        "phases": phases,
    }


def _forget() -> None:
    """A heap that one load grew would spare the next one its page faults: it goes back to the kernel."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
