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
            if _references(self._regions, number) == _UNUSED:
                return True
        except BufferError:
            pass
        del self._regions[number]
        return False

    def close(self) -> None:
        self._regions.clear()


def _references(regions: dict[int, mmap.mmap], number: int) -> int:
    return sys.getrefcount(regions[number])


_UNUSED = _references({0: mmap.mmap(-1, 1)}, 0)
"""Of a mapping without any view. A view, be it of a view, holds one reference more, until the last that
shares its buffer is gone."""
