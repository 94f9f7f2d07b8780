"""Weights whose pages a device reads by itself: pinned where they lie, in the page cache as anywhere else.

A copy from pinned memory needs no processor and goes at the link's rate; from any other the driver copies
through a small buffer of its own first. Pinning takes about as long as the copy (seen on an H100: 13 ms and
10 ms for 512 MB, against 70 ms unpinned), so it is done piece by piece, each beside the copy of the one
before. Pieces are large: two pins slow each other and the copy's beginning down, and with 16 MB a load took
half as long again.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from typing import Protocol

import numpy as np

PIECE_BYTES = 128 * 2**20


class Pins(Protocol):
    """The part of a Device that this needs."""

    def pin(self, address: int, nbytes: int) -> bool: ...

    def unpin(self, address: int) -> None: ...


class PinnedSource:
    """Memory of this process that is to be copied to a device, part by part.

    Safe to use from several threads. `release` it when the copies are done: pinned pages stay in memory.
    """

    def __init__(self, weights: memoryview, pins: Pins) -> None:
        self._weights = weights
        self._pins = pins
        self._address = int(np.frombuffer(weights, dtype=np.uint8).ctypes.data) if weights.nbytes else 0
        self._first_bytes = -self._address % mmap.PAGESIZE
        """A page can be pinned once: pieces end where pages do."""
        self._pinned: list[int] = []
        self._done = 0
        self._can = True
        self._lock = threading.Lock()

    def parts(self, offset: int, nbytes: int) -> Iterator[tuple[int, memoryview]]:
        """(offset, bytes) of what is to be copied one by one; each lies in one pinned piece."""
        end = offset + nbytes
        while offset < end:
            stop = min(end, self._end_of_piece(offset))
            self._pin_until(stop)
            yield offset, self._weights[offset:stop]
            offset = stop

    def release(self) -> None:
        """A second time does nothing."""
        with self._lock:
            pinned, self._pinned = self._pinned, []
        for address in pinned:
            self._pins.unpin(address)

    def _end_of_piece(self, offset: int) -> int:
        past = (offset - self._first_bytes) // PIECE_BYTES + 1
        return min(self._first_bytes + past * PIECE_BYTES, self._weights.nbytes)

    def _pin_until(self, stop: int) -> None:
        with self._lock:
            while self._can and self._done < stop:
                end = self._end_of_piece(self._done)
                self._can = self._pins.pin(self._address + self._done, end - self._done)
                if self._can:
                    self._pinned.append(self._address + self._done)
                self._done = end
