"""What a clairvoyant policy is told: when each function is called, to the end of the trace."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from math import inf

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.preload import Quantile
from glowplug.policy.preload.clairvoyant import Clairvoyant
from glowplug.policy.preload.forecast import Forecast
from glowplug.sim.simulation import Simulation

_FAR = 1e-3
_EARLY_S = 2.0
"""How long before its load is due a function's first call is looked at."""


class Oracle(Forecast):
    """`calls_s` are sorted. A call is certain within a time or it is not; one that is not in it yet has a
    small chance, the smaller the later it comes, so that what is needed last is evicted first."""

    calls_s: dict[FunctionId, list[float]] = msgspec.field(default_factory=dict)

    def rate_per_s(self, function: FunctionId) -> float:
        times_s = self.calls_s.get(function, ())
        return len(times_s) / max(times_s[-1], 1.0) if times_s else 0.0

    def needed(self, function: FunctionId, now_s: float, from_s: float, until_s: float) -> float:
        next_s = self._next_s(function, now_s + from_s) - now_s
        return 1.0 if next_s <= until_s else _FAR * until_s / next_s

    def within(self, function: FunctionId, now_s: float) -> Callable[[float], float]:
        return lambda ahead_s: self.needed(function, now_s, 0.0, ahead_s)

    def quantiles(self, function: FunctionId, near_s: float) -> Quantile:
        """Asked when a call has just come: until the next."""
        last_s = self.table.functions[function].last_s
        next_s = self._next_s(function, last_s) - last_s
        return lambda share, beyond_s=0.0: next_s

    def _next_s(self, function: FunctionId, after_s: float) -> float:
        times_s = self.calls_s.get(function, [])
        place = bisect_right(times_s, after_s)
        return times_s[place] if place < len(times_s) else inf


def inform(simulation: Simulation, calls_s: dict[FunctionId, list[float]], load_s: float) -> None:
    """Before it runs. `load_s` is what the longest load takes."""
    c = simulation.state.context
    policy = c.policies.preload
    assert isinstance(policy, Clairvoyant)
    c.policies = msgspec.structs.replace(c.policies, predictors=Oracle(calls_s=calls_s))
    for function, times_s in calls_s.items():
        if times_s:
            policy.expect(function, times_s[0] - load_s - _EARLY_S)
