"""What a gateway counts of its requests. Only functions that are deployed are told apart, and a bounded
number of them, so that no caller can make the counts grow."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable

import msgspec

from glowplug.core.histogram import BOUNDS_S, Histogram
from glowplug.core.status import ColdStart, Traffic

LABELLED_FUNCTIONS = 1000
"""Functions beyond these are counted together, as OTHERS."""
OTHERS = "(others)"
_UNKNOWN = ""


class Tally(msgspec.Struct):
    """All that was answered for one function. `cold` is (count, seconds) by the step it started from."""

    statuses: dict[int, int] = {}
    seconds: Histogram = msgspec.field(default_factory=Histogram)
    compute_s: float = 0.0
    cold: dict[str, tuple[int, float]] = {}
    last_cold: ColdStart | None = None

    def add(self, other: Tally) -> None:
        """What another gateway answered for it."""
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        self.seconds.add(other.seconds)
        self.compute_s += other.compute_s
        for origin, (count, seconds) in other.cold.items():
            before, before_s = self.cold.get(origin, (0, 0.0))
            self.cold[origin] = before + count, before_s + seconds
        if other.last_cold is not None:
            self.last_cold = other.last_cold


class Counts(msgspec.Struct):
    """What one gateway counted for a while. `cold_phases` are (step it started from, phase, seconds)."""

    tallies: dict[str, Tally] = {}
    cold_phases: list[tuple[str, str, Histogram]] = []


class Metrics:
    """Filled by every answer, from one event loop; read whole, as often as somebody asks.

    `clock` gives epoch seconds; it is asked for cold starts only. `is_known` says whether a function is
    deployed: what still runs of one that is gone counts as nobody's.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        labelled: int = LABELLED_FUNCTIONS,
        is_known: Callable[[str], bool] = lambda function: True,
    ) -> None:
        self._clock = clock
        self._labelled = labelled
        self._is_known = is_known
        self._by_function: dict[str | None, Tally] = {}
        self.tallies: dict[str, Tally] = {}
        """By label. Not to be changed."""
        self.cold_phases: dict[tuple[str, str], Histogram] = {}
        """Seconds of requests that waited for a climb, by (step it started from, phase or `total`)."""

    def answered(
        self, function: str | None, status: int, total_s: float, origin: str, phases: dict[str, float]
    ) -> None:
        """Counts one answer; `function` is None when it named none that is deployed.

        Every request comes through here: for a warm one it costs half a microsecond.
        """
        tally = self._by_function.get(function)
        if tally is None:
            tally = self._meet(function)
        statuses = tally.statuses
        statuses[status] = statuses.get(status, 0) + 1
        seconds = tally.seconds
        seconds.counts[bisect_left(BOUNDS_S, total_s)] += 1
        seconds.sum_s += total_s
        if origin == "parked":
            tally.compute_s += phases.get("compute", 0.0)
        elif origin:
            self._cold(tally, total_s, origin, phases)

    def _meet(self, function: str | None) -> Tally:
        label = _UNKNOWN if function is None else function
        if label not in (_UNKNOWN, OTHERS) and not self._is_known(label):
            return self.tallies.setdefault(_UNKNOWN, Tally())
        if label != _UNKNOWN and len(self.tallies) >= self._labelled:
            label = OTHERS
        tally = self.tallies.setdefault(label, Tally())
        self._by_function[function] = tally
        return tally

    def _cold(self, tally: Tally, total_s: float, origin: str, phases: dict[str, float]) -> None:
        count, before_s = tally.cold.get(origin, (0, 0.0))
        tally.cold[origin] = count + 1, before_s + total_s
        tally.compute_s += phases.get("first_compute", 0.0)
        tally.last_cold = ColdStart(origin, total_s, self._clock())
        for phase, phase_s in (*phases.items(), ("total", total_s)):
            found = self.cold_phases.get((origin, phase))
            if found is None:
                found = self.cold_phases[origin, phase] = Histogram()
            found.observe(phase_s)

    def forget(self, function: str) -> None:
        """Drops what was counted for a function that is gone."""
        self._by_function.pop(function, None)
        self.tallies.pop(function, None)

    def taken(self) -> Counts:
        """Returns what was counted since the last call, and forgets it."""
        found = Counts(self.tallies, [(*key, found) for key, found in self.cold_phases.items()])
        self._by_function, self.tallies, self.cold_phases = {}, {}, {}
        return found

    def add(self, counts: Counts, is_known: Callable[[str], bool]) -> None:
        """Counts what a gateway beside this one has counted, of functions that are still there."""
        for label, tally in counts.tallies.items():
            if label in (_UNKNOWN, OTHERS) or is_known(label):
                self._meet(label or None).add(tally)
        for origin, phase, histogram in counts.cold_phases:
            self.cold_phases.setdefault((origin, phase), Histogram()).add(histogram)

    def traffic(self, function: str) -> Traffic | None:
        """Since the start, or since its first deploy; None before its first answer, and for OTHERS."""
        tally = self.tallies.get(function)
        if tally is None:
            return None
        return Traffic(
            requests={str(status): count for status, count in tally.statuses.items()},
            seconds=tally.seconds.sparse(), compute_s=tally.compute_s, last_cold=tally.last_cold,
        )  # fmt: skip
