"""What all generators take: how many functions, how often, how long, and who is asked for most."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.trace import MAX_CALLS, Floats, Trace


class Generated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    functions: Annotated[int, Meta(ge=1, le=10_000_000, description="how many there are")] = 35
    rate_per_min: Annotated[
        float, Meta(gt=0, le=1e9, description="calls a minute to all of them, on average")
    ] = 325.0
    minutes: Annotated[float, Meta(gt=0, le=1e7, description="the length of the window")] = 6.0
    s: Annotated[
        float, Meta(ge=0, le=100, description="Zipf's exponent of their popularity; 0 is all alike")
    ] = 0.0

    @property
    def span_s(self) -> float:
        return 60 * self.minutes

    def rates_per_s(self) -> Floats:
        """(functions,): function 0 is called most, function k 1 / (k + 1)^s as often."""
        return self.rate_per_min / 60 * shares(self.functions, self.s)

    def names(self) -> list[str]:
        return [f"f{number}" for number in range(self.functions)]

    def check(self) -> None:
        """Raises InvalidWorkload when the calls would not fit in memory."""
        calls = self.rate_per_min * self.minutes
        if calls > MAX_CALLS:
            raise InvalidWorkload(f"{calls:,.0f} calls do not fit in memory ({MAX_CALLS:,} do)")

    def trace(self, seed: int) -> Trace:
        raise NotImplementedError


def shares(functions: int, s: float) -> Floats:
    """Zipf's law: (functions,) shares that add up to 1, the largest first."""
    weights: Floats = np.arange(1, functions + 1, dtype=np.float64) ** -s
    return weights / float(weights.sum())
