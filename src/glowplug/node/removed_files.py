"""Files that were removed and still take their part of the disk, for somebody holds them open."""

from __future__ import annotations

import contextlib
import errno
import stat
from collections.abc import Iterator
from pathlib import Path

from glowplug.node import procfs


def removed_bytes(user: int, folder: Path) -> int:
    """What files take that were removed from below `folder` and that processes of this user have open or
    mapped. What is on its way through a socket is not seen. Reads much of /proc: not for an event loop."""
    found: dict[tuple[int, int], int] = {}
    for link in _held(user):
        with contextlib.suppress(OSError):
            facts = link.stat()
            if stat.S_ISREG(facts.st_mode) and not facts.st_nlink and _was_below(link, folder):
                found[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(found.values())


def _held(user: int) -> Iterator[Path]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and procfs.real_user(int(process.name)) == user:
            for kind in ("fd", "map_files"):
                with contextlib.suppress(OSError):
                    yield from (process / kind).iterdir()


def _was_below(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
