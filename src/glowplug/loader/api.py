"""The two calls that most people need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glowplug.loader.devices import device as device_called
from glowplug.loader.info import PackInfo
from glowplug.loader.strategies import strategy as strategy_called
from glowplug.loader.tracing import trace
from glowplug.loader.writer import write_pack


def pack(model: Any, example_input: Any, path: str | Path) -> PackInfo:
    """Runs `model` once on `example_input` and writes it to `path`, weights in the order of their use.

    A tuple is taken as positional arguments, a dict as keyword arguments, anything else as the one argument.
    Raises NotPicklable, OSError, and what the model raises.
    """
    import torch

    with trace(model) as seen, torch.inference_mode():
        if isinstance(example_input, tuple):
            model(*example_input)
        elif isinstance(example_input, Mapping):
            model(**example_input)
        else:
            model(example_input)
    return write_pack(path, model, order=seen.order, prime=seen.prime, compute_s=seen.compute_s)


def load(path: str | Path, device: str = "cpu", strategy: str = "mapped") -> Any:
    """The object that was packed to `path`, its tensors on `device` (`cpu`, `cuda`, `cuda:1`).

    Unpickles: only for packs whose makers you trust.
    Raises PackTruncated, PackCorrupt, NotRebuildable, DeviceFull, OSError; ValueError for an unknown name.
    """
    return strategy_called(strategy)(str(path), device_called(device))
