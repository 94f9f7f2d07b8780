"""When each function will be asked for again, as far as anybody knows: one predictor a function."""

from __future__ import annotations

from math import exp, inf, log

import msgspec

from glowplug.core.ids import FunctionId

_WINDOW = 20


class Past(msgspec.Struct):
    """The last arrivals of one function, oldest first."""

    times_s: list[float] = []


class Forecast(msgspec.Struct):
    """Poisson over a window: rate = arrivals / the time they took (Tyche's worked example; a window of 10 to
    30 is said to make no difference)."""

    past: dict[FunctionId, Past] = {}

    def observe(self, function: FunctionId, now_s: float) -> None:
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
        return 1.0 - exp(-self.rate_per_s(function, now_s) * max(0.0, until_s - from_s))

    def quantile_s(self, function: FunctionId, share: float) -> float:
        """From the last arrival on, by when the next has come with this probability."""
        rate = self.rate_per_s(function, 0.0)
        return -log(1 - share) / rate if rate else inf

    def forget(self, function: FunctionId) -> None:
        self.past.pop(function, None)
