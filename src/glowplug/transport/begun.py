"""Which requests a worker has begun, in memory that outlives it: the gateway looks there when a worker dies,
and when somebody gives up on a request that may still lie in the worker's socket.

The worker owns the page, a sealed memfd, and passes its descriptor with its first frame (Kind.HELLO). It
writes a request's number before it looks at the request, at a cost of a third of a microsecond. The gateway
never maps the page, it reads; a worker that writes nonsense there gets its own requests told, or sent,
wrongly."""

from __future__ import annotations

import mmap
import os
import struct
from collections import deque

from glowplug.transport.shared_memory import checked_size, create_region

KEPT = 510
"""Requests that the page remembers: more than may be in one worker."""
_PAGE_BYTES = 4096
_NUMBER = struct.Struct("<Q")
_WHOLE = struct.Struct(f"<{KEPT + 1}Q")


class BegunPage:
    """The worker's side. `descriptor` is to be sent to each gateway, and closed after the last.

    A request stays in the page until it is `done`, and then until its place is needed: its answer may still
    be on its way. The place of whichever was done first is taken first.
    """

    def __init__(self) -> None:
        self.descriptor = create_region(_PAGE_BYTES)
        self._map = mmap.mmap(self.descriptor, _PAGE_BYTES)
        self._used = 0
        self._free = deque(range(8, _WHOLE.size, 8))
        self._places: dict[int, int] = {}
        """Of the requests that are not done."""

    def add(self, request: int) -> None:
        """The worker is about to look at this request."""
        if not self._free:
            self.done(next(iter(self._places)))
        self._places[request] = place = self._free.popleft()
        _NUMBER.pack_into(self._map, place, request)
        if self._used < KEPT:
            self._used += 1
            _NUMBER.pack_into(self._map, 0, self._used)

    def done(self, request: int) -> None:
        """Its answer is about to be written, if it was begun."""
        place = self._places.pop(request, None)
        if place is not None:
            self._free.append(place)

    def close(self) -> None:
        """Closes the descriptor, and the page here."""
        os.close(self.descriptor)
        self._map.close()


class BegunReader:
    """The gateway's side; it owns the descriptor, unless ProtocolError says that this is no such page."""

    def __init__(self, descriptor: int) -> None:
        self._is_whole = checked_size(descriptor) == _PAGE_BYTES
        self._descriptor = descriptor

    def begun(self) -> frozenset[int] | None:
        """The requests that the worker runs, and some that it ran, or None when the page does not say."""
        data = os.pread(self._descriptor, _WHOLE.size, 0) if self._is_whole else b""
        if len(data) < _WHOLE.size:
            return None
        used, *numbers = _WHOLE.unpack(data)
        return frozenset(numbers[: min(used, KEPT)])

    def close(self) -> None:
        os.close(self._descriptor)
