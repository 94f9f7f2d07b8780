"""The regions in which a gateway's big bodies lie while a worker has them: one for each request in its
socket, used over and over. A region goes to one worker alone, for as long as that lives: what it reads there
was always its own."""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

from glowplug.transport.frames import ProtocolError
from glowplug.transport.shared_memory import (
    KEPT_BYTES,
    THRESHOLD_BYTES,
    create_region,
    region_size,
)

MOST_BYTES = 64 * 2**20
"""What all regions of one worker hold; beyond it a body goes inline, which is right, only slower."""


class _Region(NamedTuple):
    descriptor: int
    size_bytes: int
    memory: mmap.mmap
    """Its own view of it: a copy there costs half of what a write to the descriptor does."""


class LentRegions:
    """Regions by the request that each was lent for, and those that are free."""

    def __init__(self) -> None:
        self._lent: dict[int, _Region] = {}
        self._free: list[_Region] = []
        self._held_bytes = 0

    def place(self, request: int, *pieces: bytes | memoryview) -> int | None:
        """The descriptor of the region that holds the body now, which is to travel with the request and stays
        owned here; None when the body has to go inline."""
        length = sum(map(len, pieces))
        if not THRESHOLD_BYTES <= length <= KEPT_BYTES:
            return None
        region = self._take(length)
        if region is None:
            return None
        self._lent[request] = region
        at = 0
        for piece in pieces:
            region.memory[at : at + len(piece)] = piece
            at += len(piece)
        return region.descriptor

    def _take(self, length: int) -> _Region | None:
        for index, region in enumerate(self._free):
            if region.size_bytes >= length:
                return self._free.pop(index)
        size_bytes = region_size(length)
        while self._free and self._held_bytes + size_bytes > MOST_BYTES:
            self._drop(self._free.pop())
        if self._held_bytes + size_bytes > MOST_BYTES:
            return None
        try:
            descriptor = create_region(size_bytes)
        except OSError:
            return None
        try:
            region = _Region(descriptor, size_bytes, mmap.mmap(descriptor, size_bytes))
        except OSError:
            os.close(descriptor)
            return None
        self._held_bytes += size_bytes
        return region

    def __contains__(self, request: int) -> bool:
        return request in self._lent

    def returned(self, request: int) -> None:
        """The worker has done with what was lent for `request`. Raises ProtocolError if nothing was."""
        region = self._lent.pop(request, None)
        if region is None:
            raise ProtocolError("a region was given back that was not lent")
        self._free.append(region)

    def abandon(self, request: int) -> None:
        """The worker keeps what lies there (user code holds a view of it): that is not written to again."""
        self._drop(self._lent.pop(request))

    def _drop(self, region: _Region) -> None:
        region.memory.close()
        os.close(region.descriptor)
        self._held_bytes -= region.size_bytes

    def close(self) -> None:
        for region in (*self._lent.values(), *self._free):
            self._drop(region)
        self._lent.clear()
        self._free.clear()
