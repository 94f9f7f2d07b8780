"""Loads as tests start them, and a source that waits for the test."""

from __future__ import annotations

import threading
from typing import Any

from glowplug.loader.devices import device
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.pipeline import Loading, begin
from glowplug.loader.sources.base import WeightSource
from glowplug.loader.strategies import strategy


def start(source: WeightSource, name: str, build: Any = None, **more: Any) -> Loading:
    return begin(source, strategy(name), device=device("cpu"), build=build, fetchers=Fetchers(), **more)


class Held:
    """A source whose reads beyond the head wait until they are let go; `asked` tells of each."""

    def __init__(self, inner: WeightSource, open_bytes: int = 0) -> None:
        self.inner, self.open_bytes = inner, open_bytes
        self.name, self.size, self.advice = inner.name, inner.size, inner.advice
        self.go, self.asked = threading.Event(), threading.Event()
        self.offsets: list[int] = []
        self.error: BaseException | None = None
        self.closed = threading.Event()

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        if offset >= self.open_bytes:
            self.offsets.append(offset)
            self.asked.set()
            assert self.go.wait(30)
            if self.error is not None:
                raise self.error
        self.inner.read_into(buffer, offset, length)

    def close(self) -> None:
        self.inner.close()
        self.closed.set()
