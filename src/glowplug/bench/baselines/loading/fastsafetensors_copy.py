"""fastsafetensors without GPUDirect: many threads read the file into one buffer, tensors are views of it.

It reads past the page cache unless FASTSAFETENSORS_ODIRECT=0 is in its environment.
"""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from fastsafetensors import fastsafe_open
from torch import nn

from .construct import assign, skip_initialisers
from .loop import Build, Mark, serve


def load(build: Build, weights: str, mark: Mark) -> nn.Module:
    module = build()
    mark("build")
    with fastsafe_open(weights, nogds=True, device="cpu") as opened:
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    mark("fetch")
    assign(module, state)
    mark("apply")
    return module


if __name__ == "__main__":
    skip_initialisers()
    serve(load)
