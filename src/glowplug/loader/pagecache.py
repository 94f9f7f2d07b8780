"""What of a file lies in the page cache, and how to drop it. No torch."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import platform
import time
from pathlib import Path

from glowplug.loader.memory import Mapping

_PROBES = 16
_SLOW_PROBES = 4
"""So many may have been interrupted by other work, or hit pages that were dropped by themselves."""
_CACHED_READ_S = 30e-6
_CACHESTAT = 451
"""The number of the system call, which the C library does not wrap; the same on these."""
_MACHINES = ("x86_64", "aarch64")
_OVERLAYFS = 0x794C7630
"""The first word of its statfs(2). Its files have their pages in others: the call would count none."""
_STATFS_WORDS = 32
"""More than it has."""


def page_cache_bytes(path: str | Path) -> int:
    """Bytes of the file that lie in the page cache.

    Only for the file's owner or who may write it; anyone else is told that all of it does. Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _resident_bytes(fd)
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
        if _resident_bytes(fd):
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


def _resident_bytes(fd: int) -> int:
    """By cachestat(2), which looks at what is there and not at every page of the file that might be; by
    mincore(2) where that is not to be had: Linux before 6.5, overlayfs, or a filter that does not know it."""
    nbytes = os.fstat(fd).st_size
    if not nbytes:
        return 0
    pages = _cached_pages(fd)
    if pages is None:
        return Mapping(fd, 0, nbytes, private=False).resident_bytes()
    return min(pages * mmap.PAGESIZE, nbytes)


class _Range(ctypes.Structure):
    """Of bytes; a length of 0 is to the file's end."""

    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Stat(ctypes.Structure):
    """Of pages."""

    _fields_ = tuple(
        (name, ctypes.c_uint64) for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted")
    )


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _cached_pages(fd: int) -> int | None:
    """None where the kernel does not say."""
    about = (ctypes.c_long * _STATFS_WORDS)()
    if platform.machine() not in _MACHINES or _libc().fstatfs(fd, about) != 0 or about[0] == _OVERLAYFS:
        return None
    found = _Stat()
    arguments = ctypes.c_long(fd), ctypes.byref(_Range()), ctypes.byref(found), ctypes.c_long(0)
    if _libc().syscall(ctypes.c_long(_CACHESTAT), *arguments) != 0:
        return None
    return int(found.cached)
