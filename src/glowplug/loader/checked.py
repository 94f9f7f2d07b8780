"""Which files on this machine's disks were checked from end to end, so that the same file is checked once.

A record is an empty file in the user's cache folder; its name stands for one state of one file: device,
inode, size, the times of its last modification and change, and the boot of the machine. Whoever writes to
the file, replaces it or restarts the machine makes another state, which has no record. A record says nothing
of what a disk does to bytes that nobody wrote.

Records are a convenience: what fails here means that a file is checked again, and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from pathlib import Path

MOST_RECORDS = 1024
"""Of the user's; those that were not asked for the longest go."""
SETTLED_NS = 2 * 10**9
"""The times of a file are trusted to change with the next write when they are older than this: the coarsest
clock of a local file system (FAT's) counts so much."""

_COARSE_CLOCK = 5
"""Linux's CLOCK_REALTIME_COARSE, off which it takes the times of files. Python does not name it."""
_FINE_NS = 10 * 10**6
"""Times that are whole multiples of this are of a file system that counts in larger steps than Linux does."""
_TICKS_S = 0.001
_MOST_TICKS = 50
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Check:
    """A check of an open file that begins now, or may be spared. The descriptor stays its owner's, and open.

    `is_new`: this process has just put the file where it is, and waits, some milliseconds, until later writes
    have later times. Never raises OSError.
    """

    def __init__(self, fd: int, *, is_new: bool = False) -> None:
        self._fd = fd
        self._state: tuple[int, ...] = ()
        self._is_settled = False
        with contextlib.suppress(OSError):
            self._state = _state(fd)
            last_ns = max(self._state[-2:])
            self._is_settled = (
                _wait_beyond(last_ns) if is_new else time.time_ns() - last_ns >= SETTLED_NS
            )  # fmt: skip

    def renamed(self) -> None:
        """This process has renamed the file since, which changes when it was changed last, and no more: who
        wrote to it meanwhile changed when it was modified."""
        with contextlib.suppress(OSError):
            state = _state(self._fd)
            if state[:-1] == self._state[:-1]:
                self._state = state
                self._is_settled = self._is_settled and _wait_beyond(state[-1])

    def passed_before(self) -> bool:
        """Whether the file was checked in the state that it has."""
        with contextlib.suppress(OSError):
            folder, name = records(), _name(self._state)
            if folder is not None and name is not None and _is_private(folder):
                return _touch(folder / name)
        return False

    def passed(self) -> None:
        """All of it was read since, and is right: that is recorded, unless somebody may have written to it
        meanwhile, or could do so without a trace. Any thread."""
        with contextlib.suppress(OSError):
            folder, name = records(), _name(self._state)
            if folder is None or name is None or not self._is_settled or _state(self._fd) != self._state:
                return
            if _is_own(folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                (folder / name).touch(mode=0o600)
                _forget(folder)


def records() -> Path | None:
    """The folder of the records, which may not exist; None for a user without a home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # as its specification has it
        home = Path(os.path.expanduser("~"))  # noqa: PTH111 (Path.home raises for who has none)
        if not home.is_absolute() or not home.is_dir():
            return None
        base = home / ".cache"
    return base / "glowplug" / "checked"


def _state(fd: int) -> tuple[int, ...]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _name(state: tuple[int, ...]) -> str | None:
    """None where a restart would not be noticed: what no disk had yet may come back as something else."""
    boot = _boot()
    if not state or boot is None:
        return None
    return hashlib.blake2b(repr((boot, *state)).encode(), digest_size=16).hexdigest()


@functools.cache
def _boot() -> str | None:
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip() or None
    return None


def _wait_beyond(last_ns: int) -> bool:
    """Whether what is written from now on has other times than this one."""
    if not last_ns % _FINE_NS:
        return False
    for _ in range(_MOST_TICKS):
        if time.clock_gettime_ns(_COARSE_CLOCK) > last_ns:
            return True
        time.sleep(_TICKS_S)
    return False


def _is_private(folder: Path) -> bool:
    """Whether nobody else puts records here."""
    found = folder.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _is_own(folder: Path) -> bool:
    """Whether it is this user's, or would be made in one that is: what root made in another's home would be
    in the other's way."""
    for each in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError):
            return each.stat().st_uid == os.geteuid()
    return False


def _touch(record: Path) -> bool:
    try:
        os.utime(record)
    except FileNotFoundError:
        return False
    except OSError:  # of a file system that is read only
        return record.exists()
    return True


def _forget(folder: Path) -> None:
    """Removes the records that are too many. Others may do so at the same time."""
    found: list[tuple[int, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                found.append((entry.stat().st_mtime_ns, entry.path))
    for _, path in sorted(found)[: max(0, len(found) - MOST_RECORDS)]:
        Path(path).unlink(missing_ok=True)
