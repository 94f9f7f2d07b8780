"""Time as sources and devices see it, so that tests need none."""

from __future__ import annotations

import ctypes
import functools
import time
from typing import Protocol

_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30


class Clock(Protocol):
    def now_s(self) -> float: ...

    def wait_until(self, at_s: float) -> None:
        """Returns when `now_s()` is at least `at_s`."""


class RealClock:
    """Sleeps to absolute times: a late wake-up delays one read, and adds nothing to those after it."""

    def now_s(self) -> float:
        return time.monotonic()

    def wait_until(self, at_s: float) -> None:
        if at_s <= time.monotonic():
            return
        # By default Linux wakes threads some 60 us late, to wake several at once.
        slack_ns = _prctl()(_PR_GET_TIMERSLACK, 0)
        _prctl()(_PR_SET_TIMERSLACK, 1)
        try:
            while (left_s := at_s - time.monotonic()) > 0:
                time.sleep(left_s)
        finally:
            _prctl()(_PR_SET_TIMERSLACK, slack_ns)


@functools.cache
def _prctl() -> ctypes._NamedFuncPointer:
    prctl = ctypes.PyDLL(None).prctl
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]
    return prctl
