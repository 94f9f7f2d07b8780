"""After a build: the environment becomes the agent's, readable by all functions and writable by none.

Runs when no process of the build is left, so nothing changes under it.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
from pathlib import Path

from glowplug.bundle.trees import below
from glowplug.core.errors import BuildFailed

_libc = ctypes.CDLL(None, use_errno=True)
_DIST_INFO = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)\.dist-info")


def seal(folder: Path) -> int:
    """Takes ownership and sets modes, and flushes all of it to the disk. Returns the bytes it takes.

    Raises BuildFailed for what has no place there: hard links, by which a build could make us change the
    mode of another's file, devices and sockets.
    """
    owner, total_bytes = (os.geteuid(), os.getegid()), 0
    _own(folder, 0o755, owner)
    for path in below(folder):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            if found.st_nlink != 1:
                raise BuildFailed(f"the build left a hard link: {path.relative_to(folder)}")
            _own(path, 0o755 if found.st_mode & 0o100 else 0o644, owner)
            total_bytes += found.st_blocks * 512
        elif stat.S_ISDIR(found.st_mode):
            _own(path, 0o755, owner)
        elif stat.S_ISLNK(found.st_mode):
            os.lchown(path, *owner)
        else:
            raise BuildFailed(f"the build left no regular file: {path.relative_to(folder)}")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if (
            _libc.syncfs(descriptor) != 0
        ):  # one call, where a flush of each of thousands of files takes minutes
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)
    return total_bytes


def _own(path: Path, mode: int, owner: tuple[int, int]) -> None:
    """The mode second: a change of owner would clear bits of it."""
    os.lchown(path, *owner)
    path.chmod(mode)


def installed(folder: Path) -> tuple[str, ...]:
    """`name==version` of what was installed below, sorted, by the names of folders: no code of it is run."""
    found = (
        _DIST_INFO.fullmatch(path.name) for path in folder.glob("lib/python3*/site-packages/*.dist-info")
    )
    return tuple(sorted(f"{each['name']}=={each['version']}" for each in found if each is not None))
