"""Trying again, within bounds: how often, how long, and with which pauses."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import msgspec

from glowplug.loader.clock import Clock
from glowplug.loader.errors import ReadDeadline, SourceUnavailable

T = TypeVar("T")

_PASSING = (SourceUnavailable, ReadDeadline, ConnectionError, TimeoutError)
"""What may be over soon. Everything else is as it is, however often one asks."""


class Retry(msgspec.Struct, frozen=True):
    """What one read, or opening, may cost: at most `attempts`, each within `attempt_s`, all and the pauses
    between them within `deadline_s`.

    The n-th pause lasts between half and all of `pause_s` * 2 ** (n - 1), at most `longest_pause_s`, or
    what the store asked for where that is longer.
    """

    attempts: int = 6
    deadline_s: float = 60.0
    attempt_s: float = 20.0
    pause_s: float = 0.1
    longest_pause_s: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"{self.attempts} attempts are too few")
        for name in ("deadline_s", "attempt_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above zero, not {getattr(self, name)}")

    def run(self, what: str, attempt: Callable[[float], T], clock: Clock, rng: random.Random) -> T:
        """The first result of `attempt`, which is told how many seconds it has.

        Raises SourceUnavailable after the last attempt, ReadDeadline when there is no time for another, with
        the last failure as cause; at once what will not pass.
        """
        until_s = clock.now_s() + self.deadline_s
        for number in range(1, self.attempts + 1):
            try:
                return attempt(min(self.attempt_s, until_s - clock.now_s()))
            except _PASSING as error:
                failed = f"{what} failed {_times(number)}, last with: {error}"
                if number == self.attempts:
                    raise SourceUnavailable(
                        f"{failed}; see that the store can be reached, or allow more by "
                        "retry=loader.Retry(attempts=...)"
                    ) from error
                again_s = clock.now_s() + self._pause_s(number, error, rng)
                if again_s >= until_s:
                    raise ReadDeadline(
                        f"{failed}; no time is left of {self.deadline_s:g} s: see that the store can be "
                        "reached, or allow more by retry=loader.Retry(deadline_s=...)"
                    ) from error
            clock.wait_until(again_s)
        raise AssertionError("unreachable")

    def _pause_s(self, number: int, error: BaseException, rng: random.Random) -> float:
        longest_s = min(self.pause_s * 2.0 ** min(number - 1, 1000), self.longest_pause_s)
        asked_s = error.retry_after_s if isinstance(error, SourceUnavailable) else 0.0
        return max(longest_s * rng.uniform(0.5, 1.0), asked_s)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
