"""How a thread stands back for the disk: Linux's I/O priority, of which each thread has its own. No torch.

Only a disk's scheduler that knows of it obeys: bfq by class and level, mq-deadline by class, `none` and kyber
not at all; and writes that the page cache takes are not their writer's any more. Where the kernel has no such
thing, or forbids it, all is as without.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import time

from glowplug.loader.arbiter import Priority

AS_NICE = 0
"""None of its own: the kernel goes by niceness."""
LOWEST = 2 << 13 | 7
"""The last of the usual class: a share that is small and never nothing."""
IDLE = 3 << 13
"""What others leave: while they always want some, bfq still serves it five times a second, and mq-deadline
each request after 10 s. It cannot be starved for ever, but whoever has a deadline would miss it."""
PATIENCE_S = 10.0
"""So long what nobody waits for makes do with that. Then it has a share, as it has one of the processor."""

_CALLS = {
    "x86_64": (251, 252), "aarch64": (30, 31), "riscv64": (30, 31), "ppc64le": (273, 274),
    "s390x": (282, 283),
}  # fmt: skip
"""ioprio_set and ioprio_get, which the C library does not wrap."""
_THREAD, _GROUP = 1, 2


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@functools.cache
def _calls() -> tuple[int, int]:
    system = os.uname()
    return _CALLS.get(system.machine, (-1, -1)) if system.sysname == "Linux" else (-1, -1)


def io_priority(thread: int = 0) -> int:
    """Of a thread by its native id, 0 for the calling one; AS_NICE where it cannot be asked."""
    number = _calls()[1]
    return max(AS_NICE, _libc().syscall(number, _THREAD, thread)) if number > 0 else AS_NICE


def set_io_priority(priority: int, thread: int = 0, *, group: bool = False) -> bool:
    """What the thread asks of a disk from now on. With `group` that of all threads of all processes in the
    group that `thread` leads. What they start later inherits it. False where it cannot be."""
    number = _calls()[0]
    return number > 0 and _libc().syscall(number, _GROUP if group else _THREAD, thread, priority) == 0


def priority_of(kind: Priority, waited_s: float = 0.0) -> int:
    """What a thread has that reads for a class, and has done so for so long: at most what its process has."""
    own = io_priority(os.getpid())
    if kind == Priority.INTERACTIVE:
        return own
    # The kernel counts from the highest to the lowest.
    return max(own, IDLE if kind == Priority.BACKGROUND and waited_s < PATIENCE_S else LOWEST)


class Standing:
    """One thread reads for a class while it is inside of this, and has afterwards what it had before. The
    class may be raised meanwhile, by any thread: what is asked of the disk from then on is of the new one."""

    def __init__(self, kind: Priority, since_s: float | None = None) -> None:
        self._kind = kind
        self._since_s = time.monotonic() if since_s is None else since_s
        self._thread = 0
        self._before = AS_NICE
        self._lock = threading.Lock()

    def __enter__(self) -> Standing:
        with self._lock:
            self._before = io_priority()
            self._thread = threading.get_native_id()
            self._take()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._thread = 0
            if io_priority() != self._before:
                set_io_priority(self._before)

    def promote(self, kind: Priority) -> None:
        """Before or while it reads; afterwards nothing."""
        with self._lock:
            self._kind = kind
            if self._thread:
                self._take()

    def _take(self) -> None:
        wanted = priority_of(self._kind, time.monotonic() - self._since_s)
        if io_priority(self._thread) != wanted:
            set_io_priority(wanted, self._thread)
