"""Where the bytes of a pack come from."""

from __future__ import annotations

import os
from typing import Protocol

from glowplug.loader.errors import PackTruncated


class WeightSource(Protocol):
    """Random access to the bytes of one pack. Safe to use from several threads at once."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        """Fills the first `length` bytes of `buffer` from `offset`.

        Raises PackTruncated where the source ends before, OSError where it cannot be read.
        """


class FileSource:
    """A local file, by a descriptor that stays its owner's to close."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self.size = os.fstat(fd).st_size

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        done = 0
        view = memoryview(buffer)[:length]
        while done < length:
            got = os.preadv(self._fd, [view[done:]], offset + done)
            if got == 0:
                raise PackTruncated(
                    f"{self._path} ends at {offset + done}; {length - done} more bytes were expected"
                )
            done += got

    def read(self, offset: int, length: int) -> bytes:
        """Raises as `read_into` does."""
        buffer = bytearray(length)
        self.read_into(buffer, offset, length)
        return bytes(buffer)
