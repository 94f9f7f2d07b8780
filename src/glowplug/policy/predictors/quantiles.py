"""By when an arrival will have come, with this probability and with that."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from math import inf, log1p

from glowplug.policy.predictors import RESOLUTION_S

LONGEST_S = 1e7
"""Quantiles beyond some months are cut off here."""
_FINENESS, _FINEST_S = 1e-3, 1e-9


class Quantiles:
    """Of a hazard that stays as it is meanwhile. It is never worked out twice for an age, nor where another
    age has shown already whether it suffices: several quantiles take little more than one.

    The search begins at `near_s`. That changes how long it takes and not what it finds.
    """

    __slots__ = ("_ages_s", "_hazard", "_hazards", "_near_s")

    def __init__(self, hazard: Callable[[float], float], near_s: float = RESOLUTION_S) -> None:
        self._hazard = hazard
        self._near_s = min(near_s, LONGEST_S)
        self._ages_s: list[float] = []
        self._hazards: list[float] = []

    def __call__(self, share: float, beyond_s: float = 0.0) -> float:
        """The least gap that is not exceeded with probability `share` (from 0 to below 1), to a thousandth of
        itself and no finer than a nanosecond. One that is no longer than `beyond_s` may be told as anything
        up to it."""
        wanted = -log1p(-share)
        if not self._ages_s:
            self._begin()
        # Hazards never fall: all ages up to `short_s` are too short, all from `enough_s` on long enough.
        place = bisect_left(self._hazards, wanted)
        short_s = self._ages_s[place - 1] if place else 0.0
        enough_s = self._ages_s[place] if place < len(self._ages_s) else inf
        if enough_s <= beyond_s:
            return enough_s
        low_s, high_s = 0.0, RESOLUTION_S
        while high_s < enough_s and (high_s <= short_s or self._look(high_s) < wanted):
            if high_s >= LONGEST_S:
                return LONGEST_S
            low_s, high_s = high_s, 2 * high_s
        while high_s > beyond_s and high_s - low_s > max(_FINENESS * high_s, _FINEST_S):
            middle_s = (low_s + high_s) / 2
            if middle_s < enough_s and (middle_s <= short_s or self._look(middle_s) < wanted):
                low_s = middle_s
            else:
                high_s = middle_s
        return high_s

    def _begin(self) -> None:
        """At the last of the ages that a search may end at before `near_s`, or at it."""
        low_s, high_s = 0.0, RESOLUTION_S
        while high_s <= self._near_s:
            low_s, high_s = high_s, 2 * high_s
        while high_s - low_s > max(_FINENESS * high_s, _FINEST_S):
            middle_s = (low_s + high_s) / 2
            if middle_s <= self._near_s:
                low_s = middle_s
            else:
                high_s = middle_s
        if low_s:
            self._look(low_s)

    def _look(self, age_s: float) -> float:
        hazard = self._hazard(age_s)
        place = bisect_left(self._ages_s, age_s)
        self._ages_s.insert(place, age_s)
        self._hazards.insert(place, hazard)
        return hazard
