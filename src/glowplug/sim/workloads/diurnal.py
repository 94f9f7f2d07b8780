"""diurnal: calls that come and go with the hour of the day."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from glowplug.sim.workloads.draws import draws
from glowplug.sim.workloads.generated import Generated
from glowplug.sim.workloads.poisson import pick, poisson_times
from glowplug.sim.workloads.trace import Trace, trace_of


class Diurnal(Generated, frozen=True, kw_only=True):
    """Poisson, with the rate times 1 + depth x sin(2 pi (t / period + phase)).

    Made by drawing at the highest rate and keeping each call as likely as the rate is high then (Lewis and
    Shedler, 1979), which is exact.
    """

    period_min: Annotated[float, Meta(gt=0, le=1e9, description="the length of a day")] = 1440.0
    depth: Annotated[float, Meta(ge=0, le=1, description="0 is even, 1 falls to nothing")] = 0.8
    phase: Annotated[float, Meta(ge=0, le=1, description="where in the day the window begins")] = 0.0
    phase_spread: Annotated[
        float, Meta(ge=0, le=1, description="a function's day is later than another's by up to this share")
    ] = 0.0

    def trace(self, seed: int) -> Trace:
        self.check()
        rng = draws(seed, "arrivals")
        rates = self.rates_per_s()
        times_s = poisson_times(rates.sum() * (1 + self.depth), self.span_s, rng)
        function = pick(rates, len(times_s), draws(seed, "popularity"))
        later = self.phase_spread * draws(seed, "phase").random(self.functions)
        part = times_s / (60 * self.period_min) + self.phase - later[function]
        level = 1 + self.depth * np.sin(2 * np.pi * part)
        kept = rng.random(len(times_s)) * (1 + self.depth) < level
        return trace_of(times_s[kept], function[kept], self.names(), self.span_s)
