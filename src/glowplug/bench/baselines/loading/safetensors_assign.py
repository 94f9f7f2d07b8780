"""safetensors: the file is mapped, its tensors are assigned, and the first pass faults them in."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import nn

from .construct import assign, skip_initialisers
from .loop import Build, Mark, serve


def load(build: Build, weights: str, mark: Mark) -> nn.Module:
    module = build()
    mark("build")
    state = load_file(weights)
    mark("fetch")
    assign(module, state)
    mark("apply")
    return module


if __name__ == "__main__":
    skip_initialisers()
    serve(load)
