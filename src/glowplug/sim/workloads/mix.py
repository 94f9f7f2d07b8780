"""mix: hours of hot, once-a-minute and rare functions, made of a recorded hour by stretching time."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.azure2019 import Azure2019
from glowplug.sim.workloads.draws import draws
from glowplug.sim.workloads.recorded import Positive
from glowplug.sim.workloads.reshape import jitter_timers, select, stretch
from glowplug.sim.workloads.trace import Floats, Trace


class Mix(Azure2019, frozen=True, kw_only=True):
    """The functions of the recorded trace by their calls: the first `hot`, the next `minute`, the rest rare.

    Hot ones and those of about once a minute get their time axis stretched from the recorded length to that
    of the window. A rare one's is stretched further, until its mean rate is one drawn (evenly in its
    logarithm) between `rare_least_per_hour` and `rare_most_per_hour`, and of the long axis the window shows a
    drawn part: some rare functions are never called in it. No call is dropped in between and nothing is
    repeated, so a function's coefficient of variation stays, but for what the window cuts.
    """

    minutes: Annotated[Positive, Meta(description="the length of the window")] = 240.0
    hot: Annotated[float, Meta(ge=0, le=1, description="share of functions that are hot")] = 0.05
    minute: Annotated[float, Meta(ge=0, le=1, description="share called about once a minute")] = 0.15
    rare_least_per_hour: Annotated[Positive, Meta(description="lowest mean rate of a rare function")] = 0.25
    rare_most_per_hour: Annotated[Positive, Meta(description="highest mean rate of a rare function")] = 12.0

    def trace(self, seed: int) -> Trace:
        if self.rate_per_min is not None or self.stretch != 1 or self.normalise != "time":
            raise InvalidWorkload("mix sets its own rates: no rate_per_min, stretch or normalise")
        if self.hot + self.minute > 1 or self.rare_least_per_hour > self.rare_most_per_hour:
            raise InvalidWorkload("hot + minute exceed 1, or rare_least_per_hour rare_most_per_hour")
        made = self.made_of(self.source(seed), seed)
        return jitter_timers(made, self.jitter_s, draws(seed, "jitter")) if self.jitter_s else made

    def source(self, seed: int) -> Trace:
        """What the mix is made of, before: functions have the numbers that they have in the mix."""
        recorded = Azure2019(
            path=self.path,
            start_min=self.start_min,
            top=self.top,
            sample=self.sample,
            spread=self.spread,
        ).trace(seed)
        return select(recorded, np.argsort(-recorded.counts(), kind="stable"))

    def made_of(self, ordered: Trace, seed: int) -> Trace:
        """The mix of any trace's functions, which come with the most called first."""
        span_s = 60 * self.minutes
        whole = span_s / ordered.span_s
        if whole < 1:
            raise InvalidWorkload(f"the recorded {ordered.span_s / 60:g} minutes are longer than the mix")
        rare = np.arange(ordered.functions) >= round((self.hot + self.minute) * ordered.functions)
        factor = np.where(rare, np.maximum(whole, self._rare_factors(ordered, seed)), whole)
        room_s = np.maximum(factor * ordered.span_s - span_s, 0)
        start_s = np.where(rare, draws(seed, "mix").random(ordered.functions) * room_s, 0)
        return stretch(ordered, factor, span_s, start_s)

    def _rare_factors(self, ordered: Trace, seed: int) -> Floats:
        low, high = np.log((self.rare_least_per_hour, self.rare_most_per_hour))
        wanted_per_s = np.exp(draws(seed, "popularity").uniform(low, high, ordered.functions)) / 3600
        return np.asarray(ordered.counts() / ordered.span_s / wanted_per_s)
