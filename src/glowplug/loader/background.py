"""Threads that work while the program goes on, and have ended before the interpreter does.

A thread that comes back from a library's code while the interpreter ends is unwound where it stands, and what
is written in C++ ends the whole process for that: "terminate called without an active exception".
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

END_S = 2.0
"""So long the end of the program waits for reads and copies that are under way."""


class Stoppable(Protocol):
    def stop(self) -> None: ...


_threads: WeakSet[threading.Thread] = WeakSet()
_loads: WeakSet[Stoppable] = WeakSet()
_lock = threading.Lock()


def start(target: Callable[..., None], *arguments: Any, name: str) -> None:
    """Runs `target` in a thread that keeps no program from ending. Raises RuntimeError when there can be no
    more threads."""
    thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
    with _lock:
        _threads.add(thread)
    thread.start()


def stop_at_exit(load: Stoppable) -> None:
    """Stops it when the program ends, if it is still there: what reads for it has to hold it."""
    with _lock:
        _loads.add(load)


def _renew() -> None:
    """In a forked child, whose end neither stops loads nor waits for threads of its parent."""
    global _threads, _loads, _lock
    _threads, _loads, _lock = WeakSet(), WeakSet(), threading.Lock()


os.register_at_fork(after_in_child=_renew)


@atexit.register
def _end() -> None:
    with _lock:
        loads, threads = list(_loads), list(_threads)
    for load in loads:
        with contextlib.suppress(Exception):
            load.stop()
    until_s = time.monotonic() + END_S
    for thread in threads:
        with contextlib.suppress(RuntimeError):  # one that was not started, or only just
            thread.join(max(0.0, until_s - time.monotonic()))
