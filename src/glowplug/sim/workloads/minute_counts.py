"""Counts of calls by minute, and how they become calls at times."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.trace import MAX_CALLS, Floats, Indices

Spread = Literal["even", "phased", "uniform"]


class MinuteCounts(msgspec.Struct, frozen=True, eq=False):
    """The cells that are not nought: `count[k]` calls of `function[k]` in `minute[k]`, in order of functions
    and, within each, of minutes.
    """

    function: Indices
    minute: Indices
    count: NDArray[np.int64]
    minutes: int

    def per_minute(self) -> NDArray[np.int64]:
        """(minutes,): calls of all functions."""
        totals = np.zeros(self.minutes, dtype=np.int64)
        np.add.at(totals, self.minute, self.count)
        return totals

    def first(self, minutes: int) -> MinuteCounts:
        """Only the first minutes."""
        kept = self.minute < minutes
        return MinuteCounts(
            self.function[kept], self.minute[kept], self.count[kept], min(minutes, self.minutes)
        )

    def first_calls(self, calls: int) -> MinuteCounts:
        """As many minutes as hold more than `calls` calls; all when none do."""
        return self.first(int(np.searchsorted(np.cumsum(self.per_minute()), calls, side="right")) + 1)

    def at_rate(self, rate_per_min: int) -> MinuteCounts:
        """Counts in proportion, so that every minute has `rate_per_min` calls; by the largest remainders.

        This drops and doubles calls, as normalising minute by minute does (GPU-enabled FaaS, set-up,
        inferred): for the published comparison, not for anything that looks at gaps. Raises InvalidWorkload
        for a minute without calls.
        """
        totals = self.per_minute()
        if not totals.all():
            raise InvalidWorkload(
                f"minute {int(np.argmin(totals))} has no calls that could be scaled to a rate"
            )
        exact = self.count * rate_per_min / totals[self.minute]
        count = np.floor(exact).astype(np.int64)
        missing = rate_per_min - np.bincount(self.minute, count, self.minutes).astype(np.int64)
        order = np.lexsort((count - exact, self.minute))
        place = np.arange(len(order)) - np.searchsorted(self.minute[order], self.minute[order])
        count[order[place < missing[self.minute[order]]]] += 1
        kept = count > 0
        return MinuteCounts(self.function[kept], self.minute[kept], count[kept], self.minutes)

    def times(self, spread: Spread, rng: np.random.Generator, functions: int) -> tuple[Floats, Indices]:
        """(seconds, function) of each call, not sorted by time.

        `even` puts n calls of a minute at the middles of its n parts, for all functions alike; `phased` does
        the same from a drawn point of the minute on, one for each function; `uniform` draws each call. Raises
        InvalidWorkload for over MAX_CALLS.
        """
        calls = int(self.count.sum())
        if calls > MAX_CALLS:
            raise InvalidWorkload(
                f"{calls:,} calls do not fit in memory ({MAX_CALLS:,} do): give minutes=, top= or sample="
            )
        function = np.repeat(self.function, self.count)
        if spread == "uniform":
            part = rng.random(calls)
        else:
            phase = rng.random(functions) if spread == "phased" else np.full(functions, 0.5)
            start = np.repeat(np.cumsum(self.count) - self.count, self.count)
            part = (np.arange(calls) - start + phase[function]) / np.repeat(self.count, self.count)
        return 60 * (np.repeat(self.minute, self.count) + part), function
