"""poisson: arrivals that know nothing of each other, at the rate of the last few."""

from __future__ import annotations

from math import log1p
from typing import ClassVar

import msgspec

_SHORTEST_S = 1e-3


class PoissonWindow(msgspec.Struct):
    """rate = W / T_w, where T_w is what the last W gaps took (Tyche, TPDS'26; W from 10 to 30 makes no
    difference there).

    The hazard is not rate x age but W ln(1 + age / T_w), which tends to it: the rate is known from W gaps and
    no better, so it has the posterior gamma(W, T_w). Taken for certain it says 0 and 1 far too often.
    `gaps_s` are the gaps of the window, the next to go at `oldest` once there are W.
    """

    window: ClassVar[int] = 16

    gaps_s: list[float] = []
    oldest: int = 0
    total_s: float = 0.0

    def observe(self, gap_s: float) -> None:
        self.total_s += gap_s
        if len(self.gaps_s) < self.window:
            self.gaps_s.append(gap_s)
            return
        self.total_s -= self.gaps_s[self.oldest]
        self.gaps_s[self.oldest] = gap_s
        self.oldest = (self.oldest + 1) % self.window
        if not self.oldest:
            # What adding and subtracting lost to rounding does not add up.
            self.total_s = sum(self.gaps_s)

    @property
    def window_s(self) -> float:
        """T_w, never quite 0."""
        return max(self.total_s, _SHORTEST_S)

    @property
    def rate_per_s(self) -> float:
        """0 before the first gap."""
        return len(self.gaps_s) / self.window_s

    def hazard(self, age_s: float, prior: float) -> float:
        gaps, total_s = len(self.gaps_s), self.total_s
        if not gaps:
            return prior
        # `window_s`, written out: a third of what this takes.
        return gaps * log1p(age_s / (total_s if total_s > _SHORTEST_S else _SHORTEST_S))
