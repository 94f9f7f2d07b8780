"""What the kernel tells of a process: its memory, its threads and its processor time."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

_SCHEDULED = 2
"""Of the clocks of a process the one that counts what the scheduler gave it, to a nanosecond."""


def private_dirty_bytes(pid: int | str = "self") -> int:
    """Bytes that only this process holds and that differ from a file's. 0 when it is gone.

    Private pages that are clean are page cache, counted with their file.
    """
    return memory_fields(pid).get("Private_Dirty", 0)


def anonymous_bytes(pid: int | str = "self") -> int:
    """Anonymous bytes, those shared with forked children included. 0 when it is gone."""
    return memory_fields(pid).get("Anonymous", 0)


def memory_fields(pid: int | str = "self") -> dict[str, int]:
    """The fields of smaps_rollup in bytes; empty when the process is gone or not ours to see."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            lines = file.read().splitlines()[1:]
    except OSError:
        return {}
    found: dict[str, int] = {}
    for line in lines:
        name, _, rest = line.partition(b":")
        found[name.decode()] = int(rest.split()[0]) * 1024
    return found


def thread_count(pid: int | str = "self") -> int:
    """0 when it is gone, or hidden from us."""
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return 0


def real_user(pid: int) -> int | None:
    """The id of who runs it, which it cannot hide as it can the owner of its files in /proc; None when it is
    gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            line = next(line for line in file if line.startswith(b"Uid:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1])


def cpu_s(pid: int) -> float | None:
    """Seconds of a processor that a process and its threads have had; None when it is gone, or has no number
    yet: of 0 the kernel would tell the caller's own."""
    if not pid:
        return None
    try:
        return time.clock_gettime((~pid << 3) | _SCHEDULED)
    except OSError:
        return None


_libc = ctypes.CDLL(None, use_errno=True)


def give_back_memory(keep_bytes: int = 0) -> None:
    """Returns the C allocator's free pages to the kernel, but for `keep_bytes` at the top of the heap."""
    _libc.malloc_trim(ctypes.c_size_t(keep_bytes))
