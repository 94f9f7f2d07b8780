"""torch.load with mmap: the zip file is mapped, its tensors are assigned, the first pass faults them in."""

from __future__ import annotations

import torch
from torch import nn

from .construct import assign, skip_initialisers
from .loop import Build, Mark, serve


def load(build: Build, weights: str, mark: Mark) -> nn.Module:
    module = build()
    mark("build")
    state = torch.load(weights, map_location="cpu", mmap=True, weights_only=True)
    mark("fetch")
    assign(module, state)
    mark("apply")
    return module


if __name__ == "__main__":
    skip_initialisers()
    serve(load)
