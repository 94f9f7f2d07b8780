"""Run:ai Model Streamer: its threads read a safetensors file, from a path or an s3:// URL."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from runai_model_streamer import SafetensorsStreamer
from torch import nn

from .construct import assign, skip_initialisers
from .loop import Build, Mark, serve


def load(build: Build, weights: str, mark: Mark) -> nn.Module:
    module = build()
    mark("build")
    with SafetensorsStreamer() as streamer:
        streamer.stream_file(weights)
        state = dict(streamer.get_tensors())
    mark("fetch")
    assign(module, state)
    mark("apply")
    return module


if __name__ == "__main__":
    skip_initialisers()
    serve(load)
