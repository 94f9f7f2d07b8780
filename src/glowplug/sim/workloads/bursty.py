"""bursty: each function is mostly quiet, and now and then asked for often (MMPP of two states)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.draws import draws
from glowplug.sim.workloads.generated import Generated
from glowplug.sim.workloads.trace import Floats, Trace, trace_of

MAX_PERIODS = 20_000_000


class Bursty(Generated, frozen=True, kw_only=True):
    """A Markov-modulated Poisson process: exponential times in each state, a Poisson rate in each.

    A function starts in a state drawn as often as it is in it. Its mean rate is what its popularity says.
    """

    burst_s: Annotated[float, Meta(gt=0, le=1e9, description="how long a burst lasts, on average")] = 10.0
    burst_share: Annotated[float, Meta(ge=1e-6, le=0.999, description="share of the time in one")] = 0.1
    burst_factor: Annotated[float, Meta(ge=1, le=1e9, description="how much higher the rate is in one")] = (
        50.0
    )
    together: Annotated[bool, Meta(description="bursts of all functions come at the same times")] = False

    def trace(self, seed: int) -> Trace:
        self.check()
        rng = draws(seed, "arrivals")
        rates = self.rates_per_s()
        periods = 1 if self.together else self.functions
        owner, start_s, length_s, in_burst = self._periods(periods, draws(seed, "phase"))
        if self.together:
            # The periods are the same for every function: a row of them for each.
            count = len(owner)
            owner = np.repeat(np.arange(self.functions), count)
            start_s, length_s, in_burst = (np.tile(x, self.functions) for x in (start_s, length_s, in_burst))
        quiet = 1 / (1 - self.burst_share + self.burst_share * self.burst_factor)
        level = np.where(in_burst, self.burst_factor * quiet, quiet)
        calls = rng.poisson(rates[owner] * level * length_s)
        times_s = np.repeat(start_s, calls) + rng.random(int(calls.sum())) * np.repeat(length_s, calls)
        times_s = np.minimum(times_s, np.nextafter(self.span_s, 0))
        return trace_of(times_s, np.repeat(owner, calls), self.names(), self.span_s)

    def check(self) -> None:
        super().check()
        periods = self.functions * (1 + 2 * self.span_s * self.burst_share / self.burst_s)
        if periods > MAX_PERIODS:
            raise InvalidWorkload(f"{periods:,.0f} bursts and pauses are too many ({MAX_PERIODS:,} at most)")

    def _periods(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, Floats, Floats, np.ndarray]:
        """(whose, start, length, whether a burst) of each time in one state, for `count` processes."""
        quiet_s = self.burst_s * (1 - self.burst_share) / self.burst_share
        in_burst = rng.random(count) < self.burst_share
        now_s = np.zeros(count)
        running = np.arange(count)
        found: list[tuple[np.ndarray, Floats, Floats, np.ndarray]] = []
        while len(running):
            length_s = rng.exponential(np.where(in_burst, self.burst_s, quiet_s))
            found.append((running, now_s, np.minimum(length_s, self.span_s - now_s), in_burst))
            goes_on = now_s + length_s < self.span_s
            running, now_s, in_burst = running[goes_on], (now_s + length_s)[goes_on], ~in_burst[goes_on]
        owner, start_s, length_s, burst = (np.concatenate(each) for each in zip(*found, strict=True))
        return owner, start_s, length_s, burst
