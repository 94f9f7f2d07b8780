"""What of a file lies in the page cache, and how to drop it. No torch."""

from __future__ import annotations

import os
import time
from pathlib import Path

from glowplug.loader.memory import Mapping

_PROBES = 16
_SLOW_PROBES = 4
"""So many may have been interrupted by other work, or hit pages that were dropped by themselves."""
_CACHED_READ_S = 30e-6


def page_cache_bytes(path: str | Path) -> int:
    """Bytes of the file that lie in the page cache.

    Only for the file's owner or who may write it; anyone else is told that all of it does. Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        nbytes = os.fstat(fd).st_size
        return Mapping(fd, 0, nbytes, private=False).resident_bytes() if nbytes else 0
    finally:
        os.close(fd)


def evict_page_cache(path: str | Path) -> None:
    """Asks the kernel to drop the file's pages. Pages that some process has mapped and touched stay.

    Dirty pages cannot be dropped: what is left is written out and asked for again. Not before, for the disk
    is told to keep what it was given even if there is nothing to write, and that takes ten times as long as
    letting go. Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        nbytes = os.fstat(fd).st_size
        if nbytes and Mapping(fd, 0, nbytes, private=False).resident_bytes():
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def looks_cached(fd: int, offset: int, nbytes: int) -> bool:
    """Whether reading a few evenly spaced bytes of this range is too fast for any disk.

    For every reader alike: mincore tells the truth to the file's owner only, and a read that may not
    wait (RWF_NOWAIT) was seen to fetch the page and succeed. Takes microseconds where it is True, at most
    a few reads of the disk where it is False. Raises OSError.
    """
    slow = 0
    for probe in range(_PROBES):
        started_s = time.perf_counter()
        os.pread(fd, 1, offset + nbytes * probe // _PROBES)
        slow += time.perf_counter() - started_s > _CACHED_READ_S
        if slow > _SLOW_PROBES:
            return False
    return True
