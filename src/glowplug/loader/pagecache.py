"""What of a file lies in the page cache, and how to drop it. No torch."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from glowplug.loader.memory import Mapping

_PROBES = 32


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

    Dirty pages are written out first, for they could not be dropped. Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def looks_cached(fd: int, offset: int, nbytes: int) -> bool:
    """Whether a few evenly spaced pages of this range are all in the page cache.

    Cheap (microseconds per probe) and honest for any reader, unlike mincore; a range that is cached in part
    may be taken for cached. False where the file system cannot say.
    """
    probe = bytearray(1)
    step = max(1, nbytes // _PROBES)
    try:
        for place in range(offset, offset + nbytes, step):
            if os.preadv(fd, [probe], place, os.RWF_NOWAIT) != 1:
                return False
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL):
            return False
        raise
    return True
