"""Fetched bytes that go into a file, for others to map: written, not stored into a mapping of it, where every
page would cost two faults."""

from __future__ import annotations

import mmap
import os
import threading
import weakref

from glowplug.loader.arbiter import Range
from glowplug.loader.sinks import READ_BYTES
from glowplug.loader.sources import WeightSource


class FileSink:
    """Through a buffer of `read_bytes` for each read under way. Weights begin at `offset` of the file behind
    `descriptor`, which this owns: it is closed by `close`, when no read is under way, or when the last user
    of this is gone. What was put can be read there, and in mappings of the file.
    """

    memory = None
    read_bytes = READ_BYTES

    def __init__(self, descriptor: int, offset: int) -> None:
        self.descriptor = descriptor
        self.close = weakref.finalize(self, os.close, descriptor)
        self._offset = offset
        self._buffers: list[memoryview] = []
        self._free: list[int] = []
        self._lock = threading.Lock()

    def room(self, nbytes: int) -> int:
        with self._lock:
            if self._free:
                return self._free.pop()
            self._buffers.append(memoryview(mmap.mmap(-1, self.read_bytes)))
            return len(self._buffers) - 1

    def view(self, place: int, one: Range) -> memoryview:
        return self._buffers[place][: one.nbytes]

    def put(self, place: int, one: Range) -> None:
        """Raises OSError."""
        try:
            _write_at(self.descriptor, self.view(place, one), self._offset + one.offset)
        finally:
            self.give_up(place)

    def give_up(self, place: int) -> None:
        with self._lock:
            self._free.append(place)

    def guard(self, unit: int) -> None:
        return

    def finish(self) -> None:
        return

    def copy(self, source: WeightSource, start: int, stop: int) -> None:
        """These bytes of the file, which are no weights. Raises as `WeightSource.read_into`, and OSError."""
        buffer = memoryview(bytearray(min(self.read_bytes, stop - start)))
        for offset in range(start, stop, self.read_bytes):
            piece = buffer[: min(self.read_bytes, stop - offset)]
            source.read_into(piece, offset, piece.nbytes)
            _write_at(self.descriptor, piece, offset)


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """All of it. Raises OSError."""
    while data.nbytes:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
