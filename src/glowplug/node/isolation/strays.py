"""Processes that user code detached: when their parent dies they become children of whoever adopts orphans.

A worker adopts those below it, its zygote those of dead workers, and so on up to the agent; whoever finds a
child that it did not start ends it. Needs no privilege.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

_ROUNDS = 1000
"""Each ends all that are there; who forks faster than that is stopped by its limit of processes."""


def children() -> list[int]:
    """Every child of this process that was not yet reaped."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


def end_strays(is_ours: Callable[[int], bool]) -> int:
    """Kills and reaps every child that `is_ours` does not know, and what those leave; returns how many."""
    ended = 0
    for _ in range(_ROUNDS):
        strays = [pid for pid in children() if not is_ours(pid)]
        if not strays:
            break
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in strays:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
                ended += 1
    return ended
