"""How often something is asked for: arrivals that fade with a window."""

from __future__ import annotations

from math import exp, expm1, log

import msgspec

_FLOOR = 1e-9
_SHORTEST_S = 1.0
"""A rate is not told from less."""


class Arrivals(msgspec.Struct):
    """Per key an exponentially fading count of arrivals and when it was last brought up to date."""

    window_s: float = 600.0
    counts: dict[str, tuple[float, float]] = {}
    since_s: float | None = None
    """When the first of all came."""

    def observe(self, key: str, now_s: float, count: float = 1.0) -> None:
        if self.since_s is None:
            self.since_s = now_s
        seen = self.counts.get(key)
        if seen is not None:
            count += seen[0] * exp((seen[1] - now_s) / self.window_s)
        self.counts[key] = (count, now_s)

    def rate_per_s(self, key: str, now_s: float) -> float:
        """What the count says about the time since the first of all arrivals, weighted as it fades."""
        if self.since_s is None:
            return 0.0
        seen = self.counts.get(key)
        if seen is None:
            return 0.0
        window_s, (count, at_s) = self.window_s, seen
        seen_s = window_s * -expm1(-max(now_s - self.since_s, _SHORTEST_S) / window_s)
        return count * exp((at_s - now_s) / window_s) / seen_s

    def seen(self, key: str) -> tuple[float, float]:
        """The count as it was after the last arrival, and when that was."""
        return self.counts.get(key, (0.0, 0.0))

    def rank(self, key: str) -> float:
        """The logarithm of the rate, up to a term that is the same for all keys at any one time.

        All rates fade by the same factor, so an order by rank never changes while nothing arrives: an
        index by rank needs no upkeep as time goes by.
        """
        count, at_s = self.counts.get(key, (0.0, 0.0))
        return log(max(count, _FLOOR)) + at_s / self.window_s

    def forget(self, key: str) -> None:
        self.counts.pop(key, None)
