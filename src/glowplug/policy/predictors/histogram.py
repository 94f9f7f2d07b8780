"""histogram: how long the last gaps were, in seconds up to an hour and in minutes beyond."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from math import exp, log
from typing import ClassVar

import msgspec

HOUR_S = 3600
TOP = HOUR_S + 40 * 24 * 60
"""The last bin, some 40 days up, has all that is longer."""
_NUMBERS = tuple(range(TOP + 1))
"""Bins of all functions are these very objects: 8 bytes an entry."""


def bin_of(gap_s: float) -> int:
    """Bin k has [k, k + 1) seconds up to an hour, then a minute each."""
    if gap_s < HOUR_S:
        return int(gap_s)
    return min(TOP, HOUR_S + int((gap_s - HOUR_S) / 60))


class GapHistogram(msgspec.Struct):
    """The last W gaps, and as much of the prior as one more gap would weigh.

    `recent` are their bins in order of arrival, the next to go at `oldest` once there are W; `ordered` the
    same by size.
    """

    window: ClassVar[int] = 48
    prior_gaps: ClassVar[float] = 1.0

    recent: list[int] = []
    ordered: list[int] = []
    oldest: int = 0

    def observe(self, gap_s: float) -> None:
        found = _NUMBERS[bin_of(gap_s)]
        insort(self.ordered, found)
        if len(self.recent) < self.window:
            self.recent.append(found)
            return
        del self.ordered[bisect_left(self.ordered, self.recent[self.oldest])]
        self.recent[self.oldest] = found
        self.oldest = (self.oldest + 1) % self.window

    def longer(self, age_s: float) -> float:
        """How many gaps are longer; those of the age's own bin lie evenly in it."""
        at, ordered = bin_of(age_s), self.ordered
        last = bisect_right(ordered, at)
        beyond = len(ordered) - last
        if not last or ordered[last - 1] != at:
            return beyond
        first = bisect_left(ordered, at, 0, last)
        inside = age_s - at if at < HOUR_S else (age_s - HOUR_S) / 60 - (at - HOUR_S)
        # The last bin has no end that could be passed.
        return beyond + (last - first) * (1 - min(inside, 1.0))

    def hazard(self, age_s: float, prior: float) -> float:
        longer = self.longer(age_s)
        weight = log(len(self.ordered) + self.prior_gaps)
        if not longer:
            return weight + prior - log(self.prior_gaps)
        return weight - log(longer + self.prior_gaps * exp(-prior))
