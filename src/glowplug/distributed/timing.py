"""The clock of a worker's waits: when one becomes suspicious, when to ask again, when to give up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from glowplug.core.errors import DeadlinePassed
from glowplug.distributed.errors import ChannelUnavailable
from glowplug.distributed.stall_time import SILENT, StallTime

MOST_STALL_S = 8.0
"""A stall doubles the time until the next, up to this."""
LOOK_S = 1.0
"""So long is one wait for a channel at most."""
_RETRY_S = 0.25
T = TypeVar("T")


class Timing:
    """The run's deadline, and how long to wait until what is missing is asked for again.

    `begin` and `end` frame each wait. Those for a step go by the pace of the steps before, which they learn;
    others by `stall_s`, as does the first.
    """

    def __init__(
        self,
        stall_s: float,
        floor_s: float,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`deadline_s` is as `clock` tells it."""
        self.deadline_s = deadline_s
        self.stalls = 0
        self.now_s, self._sleep = clock, sleep
        self._first_s = self._stall_s = stall_s
        self._learned = StallTime(stall_s, min(floor_s, stall_s), MOST_STALL_S)
        self._quiet_at_s = self._stall_at_s = 0.0
        self._for_step = False

    @property
    def longest_look_s(self) -> float:
        """For who does not see what is asked for meanwhile."""
        return min(self._learned.seconds, LOOK_S)

    def begin(self, *, for_step: bool) -> None:
        self._for_step = for_step
        quiet_s = self._learned.quiet_s if for_step else self._first_s / SILENT
        self._quiet_at_s = self.now_s() + quiet_s
        self.heard()

    def heard(self) -> None:
        """Something of what is waited for came. What did not is no less late for it."""
        self.stalls = 0
        self._stall_s = self._learned.seconds if self._for_step else self._first_s
        self._stall_at_s = self.now_s() + self._stall_s

    def end(self) -> None:
        """All of it is there."""
        if self._for_step:
            self._learned.came(self.now_s())

    def is_quiet(self) -> bool:
        """Whether something did not come for so long that something may be wrong."""
        return self.stalls > 0 or self.now_s() >= self._quiet_at_s

    def is_stalled(self) -> bool:
        """Whether it is time to ask; if so, the next time comes later."""
        now_s = self.now_s()
        if now_s < self._stall_at_s:
            return False
        self.stalls += 1
        self._stall_s = min(2 * self._stall_s, MOST_STALL_S)
        self._stall_at_s = now_s + self._stall_s
        return True

    def look_s(self) -> float:
        """How long to wait now."""
        now_s = self.now_s()
        next_s = self._stall_at_s if self.is_quiet() else self._quiet_at_s
        return max(0.0, min(next_s - now_s, self.deadline_s - now_s, LOOK_S))

    def check(self, what: Callable[[], str]) -> None:
        if self.now_s() >= self.deadline_s:
            raise DeadlinePassed(f"the run's time is up, and {what()}")

    def patiently(self, call: Callable[[], T]) -> T:
        """Again and again while the service does not answer, until the deadline."""
        return patiently(call, self.deadline_s, self.now_s, self._sleep)


def patiently(
    call: Callable[[], T],
    deadline_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Raises ChannelUnavailable once it was tried again until the deadline."""
    while True:
        try:
            return call()
        except ChannelUnavailable:
            if clock() + _RETRY_S >= deadline_s:
                raise
            sleep(_RETRY_S)
