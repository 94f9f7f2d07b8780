"""The regions in which a gateway's big bodies lie while a worker has them: one for each request in its
socket, used over and over. A region goes to one worker alone, for as long as that lives: what it reads there
was always its own function's."""

from __future__ import annotations

import contextlib
import mmap
import os
from itertools import count
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


class _Region:
    """Closed by whoever has it. `number` is what the worker calls it."""

    __slots__ = ("body_bytes", "descriptor", "is_known", "memory", "number", "size_bytes")

    def __init__(self, number: int, size_bytes: int) -> None:
        """Raises OSError."""
        self.number = number
        self.size_bytes = size_bytes
        self.body_bytes = 0
        """Of the body that lies there."""
        self.descriptor = create_region(size_bytes)
        self.is_known = False
        """Whether the worker has been given the descriptor."""
        try:
            # A copy there costs half of what a write to the descriptor does.
            self.memory = mmap.mmap(self.descriptor, size_bytes)
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        with contextlib.suppress(BufferError):  # a transport that just read into it ends the mapping instead
            self.memory.close()
        os.close(self.descriptor)


class Lent(NamedTuple):
    """Where a body lies, as its request is to say. `descriptor` is to travel with it and stays owned here;
    None when the worker has it. The worker may forget the regions `gone`."""

    region: int
    descriptor: int | None
    gone: tuple[int, ...]


class Slot:
    """A region taken before its request is known whole, so that the body is read right into it. To be lent
    (`LentRegions.lend`), or ended by `to_bytes` or `release`; afterwards it is empty."""

    __slots__ = ("_region", "_regions", "view")

    def __init__(self, regions: LentRegions, region: _Region, length: int) -> None:
        self._regions = regions
        self._region: _Region | None = region
        self.view = memoryview(region.memory)[:length]
        """The body's place, of its length. Nobody may keep a view of it."""

    def __len__(self) -> int:
        return len(self.view) if self._region is not None else 0

    def is_of(self, regions: LentRegions) -> bool:
        return self._regions is regions

    def take(self) -> _Region:
        """The region, for LentRegions."""
        region, self._region = self._region, None
        assert region is not None
        self.view.release()
        return region

    def to_bytes(self) -> bytes:
        """A copy of the body; the region is free again."""
        body = bytes(self.view)
        self.release()
        return body

    def release(self) -> None:
        """The region is free again. Of an empty slot: nothing."""
        if self._region is not None:
            self._regions.take_back(self.take())


class LentRegions:
    """Regions by the request that each was lent for, and those that are free."""

    def __init__(self) -> None:
        self._lent: dict[int, _Region] = {}
        self._free: list[_Region] = []
        self._held_bytes = 0
        self._numbers = count()
        self._gone: list[int] = []
        self._is_closed = False

    def reserve(self, length: int) -> Slot | None:
        """A place for a body of this length, or None when it has to go another way."""
        if self._is_closed or not THRESHOLD_BYTES <= length <= KEPT_BYTES:
            return None
        region = self._take(length)
        return None if region is None else Slot(self, region, length)

    def place(self, request: int, *pieces: bytes | memoryview) -> Lent | None:
        """Copies a body into a region, as `lend`; None when it has to go inline."""
        slot = self.reserve(sum(map(len, pieces)))
        if slot is None:
            return None
        at = 0
        for piece in pieces:
            slot.view[at : at + len(piece)] = piece
            at += len(piece)
        return self.lend(request, slot)

    def lend(self, request: int, slot: Slot) -> Lent:
        """`slot` is one of these regions, and goes to the worker with `request`."""
        length = len(slot)
        region = self._lent[request] = slot.take()
        region.body_bytes = length
        is_known, region.is_known = region.is_known, True
        gone, self._gone = tuple(self._gone), []
        return Lent(region.number, None if is_known else region.descriptor, gone)

    def _take(self, length: int) -> _Region | None:
        for index in range(len(self._free) - 1, -1, -1):  # what was used last is in the caches
            if self._free[index].size_bytes >= length:
                return self._free.pop(index)
        size_bytes = region_size(length)
        while self._free and self._held_bytes + size_bytes > MOST_BYTES:
            self._drop(self._free.pop(0))
        if self._held_bytes + size_bytes > MOST_BYTES:
            return None
        try:
            region = _Region(next(self._numbers), size_bytes)
        except OSError:
            return None
        self._held_bytes += size_bytes
        return region

    def __contains__(self, request: int) -> bool:
        return request in self._lent

    def descriptor(self, request: int) -> int | None:
        """Of what was lent for a request; None when nothing is."""
        region = self._lent.get(request)
        return None if region is None else region.descriptor

    def body(self, request: int) -> bytes | None:
        """A copy of what was lent for a request; None when nothing is."""
        region = self._lent.get(request)
        return None if region is None else region.memory[: region.body_bytes]

    def returned(self, request: int) -> None:
        """The worker has done with what was lent for `request`. Raises ProtocolError if nothing was."""
        region = self._lent.pop(request, None)
        if region is None:
            raise ProtocolError("a region was given back that was not lent")
        self._free.append(region)

    def abandon(self, request: int) -> None:
        """The worker keeps what lies there (user code holds a view of it): that is not written to again."""
        self._drop(self._lent.pop(request))

    def take_back(self, region: _Region) -> None:
        """What was reserved is not needed."""
        if self._is_closed:
            self._drop(region)
        else:
            self._free.append(region)

    def _drop(self, region: _Region) -> None:
        region.close()
        self._held_bytes -= region.size_bytes
        if region.is_known:
            self._gone.append(region.number)

    def close(self) -> None:
        """What is reserved is closed when it comes back."""
        self._is_closed = True
        for region in (*self._lent.values(), *self._free):
            self._drop(region)
        self._lent.clear()
        self._free.clear()
