"""tensorizer: its own file format, read by several threads, from a path, an http:// or an s3:// URL."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from tensorizer import TensorDeserializer
from torch import nn

from .construct import assign, skip_initialisers
from .loop import Build, Mark, serve


def load(build: Build, weights: str, mark: Mark) -> nn.Module:
    module = build()
    mark("build")
    with TensorDeserializer(weights, device="cpu") as state:
        mark("fetch")
        assign(module, state)
    mark("apply")
    return module


if __name__ == "__main__":
    skip_initialisers()
    serve(load)
