"""A file read past the page cache (O_DIRECT): for weights that are used once, or must not evict others'."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from pathlib import Path

from glowplug.loader.sources.base import Advice, target
from glowplug.loader.sources.copying import copy
from glowplug.loader.sources.file import open_regular, truncated

ALIGN_BYTES = 4096
"""Of file offsets, lengths and addresses; at least what any disk's sectors ask for."""
_BOUNCE_BYTES = 4 * 2**20


class DirectFileSource:
    """Goes straight into buffers that lie as the file does: address and offset equal modulo `ALIGN_BYTES`.

    Into others, and at a range's ragged ends, by way of an aligned buffer, 4 MiB for each read under way.
    Where the file system refuses (`direct` tells) it reads through the page cache. Raises as `open_file`.
    """

    # Nothing is read ahead: what is not asked for is not on its way.
    advice = Advice(parallel=4, read_bytes=8 * 2**20)

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._file = open_regular(path)
        self._fd = self._file.fileno()
        self.size = os.fstat(self._fd).st_size
        self._bounces: list[mmap.mmap] = []
        self.direct = self._set_direct(True)

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        """Raises PackTruncated where the file ends before, OSError where it cannot be read."""
        view = target(buffer, length)
        if offset < 0:
            raise ValueError(f"{self.name} has no offset {offset}")
        end = offset + length
        while view.nbytes:
            direct = self.direct
            try:
                got = self._some(view, offset, direct)
            except OSError as error:
                if error.errno != errno.EINVAL or not direct:
                    raise
                # Some file systems take the flag and refuse the reads.
                self.direct = self._set_direct(False)
                continue
            if got <= 0:
                raise truncated(self.name, self._fd, end)
            view, offset = view[got:], offset + got

    def close(self) -> None:
        self._file.close()
        while self._bounces:
            self._bounces.pop().close()

    def _some(self, view: memoryview, offset: int, direct: bool) -> int:
        """Reads the beginning; returns how much, nothing or less at the file's end."""
        if not direct:
            return os.preadv(self._fd, [view], offset)
        ragged = offset % ALIGN_BYTES
        fits = (_address(view) - offset) % ALIGN_BYTES == 0
        if fits and not ragged and view.nbytes >= ALIGN_BYTES:
            return os.preadv(self._fd, [view[: view.nbytes // ALIGN_BYTES * ALIGN_BYTES]], offset)
        wanted = min(view.nbytes, (ALIGN_BYTES if fits else _BOUNCE_BYTES) - ragged)
        return self._bounced(view[:wanted], offset - ragged, ragged)

    def _bounced(self, view: memoryview, start: int, skip: int) -> int:
        try:
            bounce = self._bounces.pop()
        except IndexError:
            bounce = mmap.mmap(-1, _BOUNCE_BYTES)
        try:
            with memoryview(bounce) as whole:
                aligned = -(-(skip + view.nbytes) // ALIGN_BYTES) * ALIGN_BYTES
                got = min(os.preadv(self._fd, [whole[:aligned]], start) - skip, view.nbytes)
                if got > 0:
                    copy(view[:got], whole[skip : skip + got])
                return got
        finally:
            self._bounces.append(bounce)

    def _set_direct(self, on: bool) -> bool:
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_DIRECT
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags)
        except OSError:
            return False
        return on


def _address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
