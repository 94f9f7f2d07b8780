"""CRC-32 of the members of an archive, from pieces that are read in any order.

A torch file is a zip, which has one for each member, and each storage is a member: there is no sum for a part
of it, so nothing of a storage is known to be right before all of it is there.
"""

from __future__ import annotations

import bisect
import functools
import threading
import zlib
from collections.abc import Sequence

from glowplug.loader.arbiter import Block
from glowplug.loader.format import StorageEntry

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
_A_BYTE_ON = 1 << 23
"""x to the eighth, the highest bit being the lowest power."""


class ArchiveSums:
    """Fed with blocks by any thread. `expected` are the sums that the archive has, by storage; storages lie
    one behind the other."""

    def __init__(self, storages: Sequence[StorageEntry], expected: Sequence[int]) -> None:
        self._storages = storages
        self._expected = expected
        self._ends = [storage.offset + storage.nbytes for storage in storages]
        self._pieces: list[list[tuple[int, int, int]]] = [[] for _ in storages]
        """Of each storage: where a piece begins, its bytes, its sum."""
        self._lock = threading.Lock()

    def add(self, block: Block, view: memoryview) -> None:
        """These are the block's bytes."""
        end = block.offset + block.nbytes
        number = bisect.bisect_right(self._ends, block.offset)
        while number < len(self._storages) and self._storages[number].offset < end:
            storage = self._storages[number]
            first, last = max(storage.offset, block.offset), min(self._ends[number], end)
            if last > first:
                found = zlib.crc32(view[first - block.offset : last - block.offset])
                with self._lock:
                    self._pieces[number].append((first, last - first, found))
            number += 1

    def damaged(self, start: int, end: int) -> StorageEntry | None:
        """The first storage between these bytes, all of which were added, whose sum is another."""
        number = bisect.bisect_right(self._ends, start)
        while number < len(self._storages) and self._storages[number].offset < end:
            with self._lock:
                pieces, self._pieces[number] = self._pieces[number], []
            found = 0
            for _, nbytes, each in sorted(pieces):
                found = joined(found, each, nbytes)
            if found != self._expected[number]:
                return self._storages[number]
            number += 1
        return None


def joined(first: int, second: int, second_nbytes: int) -> int:
    """The CRC-32 of two pieces, one behind the other, by theirs (zlib's crc32_combine)."""
    return _times(_power(second_nbytes), first) ^ second


def _times(one: int, other: int) -> int:
    """The product of two polynomials over bits, modulo that of CRC-32."""
    product, bit = 0, _ONE
    while bit:
        if one & bit:
            product ^= other
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
        bit >>= 1
    return product


@functools.lru_cache(1024)
def _power(nbytes: int) -> int:
    """What moves a sum so many bytes on. Most pieces are whole blocks."""
    found, square = _ONE, _A_BYTE_ON
    while nbytes:
        if nbytes & 1:
            found = _times(square, found)
        square = _times(square, square)
        nbytes >>= 1
    return found
