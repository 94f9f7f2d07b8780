"""How much of the devices' time they compute, of late."""

from __future__ import annotations

from math import exp

import msgspec

_MOST = 0.98
"""A share that is told from a finite time is never believed to be all."""


class Working(msgspec.Struct, gc=False):
    """Sums that fade with a horizon: of the time that has passed, and of it what was computed in, in seconds
    for each device."""

    passed_s: float = 0.0
    computed_s: float = 0.0
    share_now: float = 0.0
    at_s: float = 0.0

    def pass_until(self, now_s: float, horizon_s: float) -> None:
        """The share of the devices that compute was `share_now` until then."""
        elapsed_s = now_s - self.at_s
        if elapsed_s > 0:
            kept = exp(-elapsed_s / horizon_s)
            added_s = horizon_s * (1 - kept)
            self.passed_s = self.passed_s * kept + added_s
            self.computed_s = self.computed_s * kept + added_s * self.share_now
            self.at_s = now_s

    def now(self, share: float) -> None:
        self.share_now = share

    @property
    def share(self) -> float:
        """0 before any time has passed."""
        return min(_MOST, self.computed_s / self.passed_s) if self.passed_s else 0.0
