"""timers: each function is called at even times, give or take."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from glowplug.sim.workloads.draws import draws
from glowplug.sim.workloads.generated import Generated
from glowplug.sim.workloads.trace import TIMER, Facts, Trace, trace_of


class Timers(Generated, frozen=True, kw_only=True):
    """Function k fires every 1 / rate seconds, from a drawn point of its first period on.

    Each firing is late by up to `jitter_s`, evenly drawn; the next one's time does not depend on that, as
    with a clock.
    """

    rate_per_min: Annotated[float, Meta(gt=0, le=1e9, description="calls a minute to all of them")] = 7.0
    jitter_s: Annotated[float, Meta(ge=0, le=1e9, description="a firing is late by up to this, drawn")] = 20.0

    def trace(self, seed: int) -> Trace:
        self.check()
        rates = self.rates_per_s()
        first = draws(seed, "phase").random(self.functions)
        calls = np.floor(self.span_s * rates - first).astype(np.int64) + 1
        function = np.repeat(np.arange(self.functions), calls)
        firing = np.arange(len(function)) - np.repeat(np.cumsum(calls) - calls, calls)
        times_s = (firing + first[function]) / rates[function]
        times_s += draws(seed, "jitter").random(len(times_s)) * self.jitter_s
        kept = times_s < self.span_s
        unknown = Facts.unknown(self.functions)
        facts = Facts(unknown.duration_s, unknown.memory_bytes, (TIMER,) * self.functions)
        return trace_of(times_s[kept], function[kept], self.names(), self.span_s, facts)
