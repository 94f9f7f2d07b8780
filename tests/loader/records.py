"""Loads of local packs, and what is remembered of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glowplug import loader
from glowplug.loader import checked
from glowplug.loader.checked import Check


def load(path: Path, x: Any, **more: Any) -> tuple[str, Any]:
    """(whether its weights were checked, the answer), when all of them are there."""
    import torch

    loading = loader.start_load(path, **more)
    with torch.inference_mode():
        answer = loading.model(x)
    loading.wait()
    return loading.weights_checked, answer


def recorded() -> list[str]:
    folder = checked.records()
    assert folder is not None
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def is_recorded(path: Path) -> bool:
    with opened(path) as fd:
        return Check(fd).passed_before()


def passed(path: Path) -> None:
    with opened(path) as fd:
        Check(fd, is_new=True).passed()


def state(path: Path) -> tuple[int, ...]:
    with opened(path) as fd:
        return checked._state(fd)
