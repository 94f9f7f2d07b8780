"""When each function will be asked for again, as pre-load policies ask."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.predictors import chance
from glowplug.policy.predictors.table import Predictors
from glowplug.policy.preload import Quantile


class Forecast(msgspec.Struct):
    """`rate_per_s` is that of Tyche's worked example, calls over the time that the last of them took;
    `needed` and `quantiles` are of the best of all models."""

    table: Predictors = msgspec.field(default_factory=Predictors)

    def observe(self, function: FunctionId, now_s: float) -> None:
        self.table.observe(function, now_s)

    def rate_per_s(self, function: FunctionId) -> float:
        known = self.table.functions.get(function)
        return 0.0 if known is None else known.poisson.rate_per_s

    def needed(self, function: FunctionId, now_s: float, from_s: float, until_s: float) -> float:
        """The probability of an arrival between two times from now, if none came before."""
        known = self.table.functions.get(function)
        if known is None:
            return 0.0
        age_s, pool = max(0.0, now_s - known.last_s), self.table.pool
        return chance(known.hazard(age_s + from_s, pool), known.hazard(age_s + until_s, pool))

    def within(self, function: FunctionId, now_s: float) -> Callable[[float], float]:
        """As `needed` from now on, of several times: what they have in common is worked out once."""
        known = self.table.functions.get(function)
        if known is None:
            return _not_at_all
        age_s, pool = max(0.0, now_s - known.last_s), self.table.pool
        before = known.hazard(age_s, pool)
        return lambda ahead_s: chance(before, known.hazard(age_s + ahead_s, pool))

    def quantiles(self, function: FunctionId, near_s: float) -> Quantile:
        """From the last arrival on, by when the next has come."""
        if function not in self.table.functions:
            return _never
        return self.table.quantiles(function, near_s)

    def forget(self, function: FunctionId) -> None:
        self.table.forget(function)


def _not_at_all(ahead_s: float) -> float:
    return 0.0


def _never(share: float, beyond_s: float = 0.0) -> float:
    return inf
