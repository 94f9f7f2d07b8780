"""Bytes that this process holds already."""

from __future__ import annotations

import mmap

from glowplug.loader.sources.base import Advice, check_range, target
from glowplug.loader.sources.copying import copy


class MemorySource:
    """`data` stays as it is while this lives, and is read where it lies."""

    advice = Advice(parallel=2, read_bytes=4 * 2**20)

    def __init__(self, data: bytes | bytearray | memoryview | mmap.mmap, name: str = "memory") -> None:
        self.name = name
        self._data = memoryview(data).cast("B")
        self.size = self._data.nbytes

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        view = target(buffer, length)
        check_range(self.name, self.size, offset, length)
        copy(view, self._data[offset : offset + length])

    def close(self) -> None:
        """Lets go of `data`."""
        self._data.release()
