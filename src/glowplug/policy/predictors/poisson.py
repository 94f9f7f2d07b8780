"""poisson: arrivals that know nothing of each other, at the rate of the last few."""

from __future__ import annotations

from typing import ClassVar

import msgspec

_SHORTEST_S = 1e-3


class PoissonWindow(msgspec.Struct):
    """rate = W / T_w, where T_w is what the last W gaps took (Tyche, TPDS'26; W from 10 to 30 makes no
    difference there). `gaps_s` are those gaps, the next to go at `oldest` once there are W."""

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
    def rate_per_s(self) -> float:
        """0 before the first gap."""
        return len(self.gaps_s) / max(self.total_s, _SHORTEST_S)

    def hazard(self, age_s: float, prior: float) -> float:
        return self.rate_per_s * age_s if self.gaps_s else prior
