"""Processes that user code detached: when their parent dies they become children of whoever adopts orphans.

A worker adopts those below it, its zygote those of dead workers, and so on up to the agent; whoever finds a
child that it did not start ends it. Needs no privilege.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

_ROUNDS = 1000
"""Each ends all that are there; who forks faster than that is stopped by its limit of processes."""
_END_S = 0.1
"""How long the death of all that were killed is waited for: others wait meanwhile."""


def children() -> list[int]:
    """Every child of this process that was not yet reaped."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


def end_strays(is_ours: Callable[[int], bool]) -> int:
    """Kills and reaps every child that `is_ours` does not know, and what those leave; returns how many. One
    whom somebody traces who lives is killed, and reaped when that one has gone: until then it is not ours to
    reap."""
    ended, until_s = 0, time.monotonic() + _END_S
    for _ in range(_ROUNDS):
        strays = [pid for pid in children() if not is_ours(pid)]
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reaped = sum(_reaped(pid, until_s) for pid in strays)
        if not reaped:
            break
        ended += reaped
    return ended


def _reaped(pid: int, until_s: float) -> bool:
    """Of a child that was killed, once it is dead."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        death = select.poll()
        death.register(handle, select.POLLIN)
        death.poll(max(0.0, until_s - time.monotonic()) * 1000)
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
    finally:
        os.close(handle)
