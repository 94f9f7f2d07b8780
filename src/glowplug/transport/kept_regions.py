"""The worker's side of lent_regions.py: regions that a gateway lends again and again, mapped once each."""

from __future__ import annotations

import mmap
import os
import sys

from glowplug.transport.frames import ProtocolError
from glowplug.transport.shared_memory import checked_size


class KeptRegions:
    """Mappings by the gateway's numbers, and the bodies that lie in them by request."""

    def __init__(self) -> None:
        self._regions: dict[int, mmap.mmap] = {}
        self._lent: dict[int, tuple[int, memoryview]] = {}

    def add(self, number: int, descriptor: int) -> None:
        """Maps a region, in the place of the one that had its number, and closes its descriptor. Raises
        ProtocolError, OSError."""
        try:
            self._regions[number] = mmap.mmap(descriptor, checked_size(descriptor))
        finally:
            os.close(descriptor)

    def forget(self, numbers: tuple[int, ...]) -> None:
        """These are not lent any more; what user code still holds of them stays."""
        for number in numbers:
            self._regions.pop(number, None)

    def open(self, request: int, number: int, length: int) -> memoryview:
        """The body of `request`, writable. Raises ProtocolError."""
        region = self._regions.get(number)
        if region is None or not 0 < length <= len(region):
            raise ProtocolError(f"a body of {length} bytes lies in no region {number}")
        body = memoryview(region)[:length]
        self._lent[request] = number, body
        return body

    def __contains__(self, request: int) -> bool:
        return request in self._lent

    def give_back(self, request: int) -> bool:
        """Whether the region may be written to again. False when user code still holds a view of the body:
        then the region is that view's, and forgotten here."""
        number, body = self._lent.pop(request)
        try:
            body.release()
        except BufferError:
            self._regions.pop(number, None)
            return False
        region = self._regions.pop(number)
        if sys.getrefcount(region) > _UNUSED:
            return False
        self._regions[number] = region
        return True

    def close(self) -> None:
        self._regions.clear()


_UNUSED = 2
"""References to a mapping that one local name holds: that name, and getrefcount's argument. Every view, a
view of a view included, holds one more, until the last that shares its buffer is gone."""
