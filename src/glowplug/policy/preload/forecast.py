"""When each function will be asked for again, as pre-load policies ask: one answer for all of them."""

from __future__ import annotations

from math import inf

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.predictors import chance
from glowplug.policy.predictors.table import Predictors

_WINDOW = 20


class Past(msgspec.Struct):
    """The last arrivals of one function, oldest first."""

    times_s: list[float] = []


class Forecast(msgspec.Struct):
    """`rate_per_s` is arrivals over the time that the last of them took (Tyche's worked example; a window of
    10 to 30 is said to make no difference); `needed` and `quantile_s` are of the best of all models."""

    table: Predictors = msgspec.field(default_factory=Predictors)
    past: dict[FunctionId, Past] = {}

    def observe(self, function: FunctionId, now_s: float) -> None:
        self.table.observe(function, now_s)
        past = self.past.get(function)
        if past is None:
            past = self.past[function] = Past()
        past.times_s.append(now_s)
        if len(past.times_s) > _WINDOW:
            del past.times_s[0]

    def rate_per_s(self, function: FunctionId, now_s: float) -> float:
        past = self.past.get(function)
        if past is None or len(past.times_s) < 2:
            return 0.0
        return (len(past.times_s) - 1) / max(past.times_s[-1] - past.times_s[0], 1e-3)

    def last_s(self, function: FunctionId) -> float | None:
        past = self.past.get(function)
        return None if past is None else past.times_s[-1]

    def needed(self, function: FunctionId, now_s: float, from_s: float, until_s: float) -> float:
        """The probability of an arrival between two times from now, if none came before."""
        found = self.table.functions.get(function)
        if found is None:
            return 0.0
        age_s, pool = max(0.0, now_s - found.last_s), self.table.pool
        return chance(found.hazard(age_s + from_s, pool), found.hazard(age_s + until_s, pool))

    def quantile_s(self, function: FunctionId, share: float) -> float:
        """From the last arrival on, by when the next has come with this probability."""
        if function not in self.table.functions:
            return inf
        return self.table.quantile_s(function, share)

    def forget(self, function: FunctionId) -> None:
        self.past.pop(function, None)
        self.table.forget(function)
