"""histogram: a sandbox for a function from shortly before it is likely to be called until it hardly is any
more.

Source: Shahrad et al., "Serverless in the Wild" (ATC 2020), the hybrid policy: a histogram of idle times, one
bin a minute over four hours; its head (5th percentile) is when to warm up again, its tail (99th) until when
to keep. It is believed when its counts differ enough between bins: when their coefficient of variation is 2
at least, with no least number of calls. Until then, and again where calls come at any time, a sandbox is kept
for as long as the histogram reaches. Their third way, an ARIMA model where more than half of the gaps lie
beyond the histogram, is not made: there the function's own `keep_warm_s` is kept.
"""

from __future__ import annotations

from math import inf
from typing import Literal

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.prewarm import KeepView

BIN_S = 60.0
BINS = 240
RANGE_S = BINS * BIN_S
_HEAD, _TAIL = 0.05, 0.99
_MARGIN = 0.1
"""The head is taken so much earlier and the tail so much later, as in the paper."""
_LEAST_VARIATION = 2.0
_MOST_OUTSIDE = 0.5


class Gaps(msgspec.Struct):
    """One function's idle times by minute; `squares` is the sum of the counts' squares. Times before the
    first call count for nothing."""

    last_s: float
    counts: dict[int, int] = {}
    squares: int = 0
    inside: int = 0
    outside: int = 0

    def observe(self, now_s: float) -> None:
        gap = int(max(0.0, now_s - self.last_s) // BIN_S)
        self.last_s = now_s
        if gap < BINS:
            count = self.counts.get(gap, 0)
            self.counts[gap] = count + 1
            self.squares += 2 * count + 1
            self.inside += 1
        else:
            self.outside += 1

    @property
    def pattern(self) -> Literal["certain", "uncertain", "outside"]:
        if self.outside > _MOST_OUTSIDE * (self.inside + self.outside):
            return "outside"
        # Of n gaps in B bins the counts' squared coefficient of variation is B x squares / n^2 - 1.
        certain = BINS * self.squares >= (_LEAST_VARIATION**2 + 1) * self.inside**2
        return "certain" if self.inside and certain else "uncertain"

    def window_s(self) -> tuple[float, float]:
        """From when until when, after a call: the lower end of the head's bin, the upper end of the
        tail's."""
        head, tail = self._bin(_HEAD), self._bin(_TAIL)
        return head * BIN_S * (1 - _MARGIN), (tail + 1) * BIN_S * (1 + _MARGIN)

    def _bin(self, share: float) -> int:
        left = share * self.inside
        for place in sorted(self.counts):
            left -= self.counts[place]
            if left <= 0:
                return place
        return BINS


class Histogram(msgspec.Struct):
    takes_over: bool = False
    gaps: dict[FunctionId, Gaps] = {}

    def arrived(self, function: FunctionId, now_s: float) -> float:
        known = self.gaps.get(function)
        if known is None:
            known = self.gaps[function] = Gaps(now_s)
        else:
            known.observe(now_s)
        if known.pattern != "certain":
            return inf
        from_s, _ = known.window_s()
        return now_s + from_s if from_s > 0.0 else inf

    def keep_until_s(self, view: KeepView, now_s: float) -> float:
        known = self.gaps.get(view.function)
        pattern = "uncertain" if known is None else known.pattern
        if known is None or pattern != "certain":
            return view.used_s + (view.keep_warm_s if pattern == "outside" else RANGE_S)
        from_s, until_s = known.window_s()
        if from_s > 0.0 and now_s < known.last_s + from_s:
            return now_s
        return max(known.last_s, view.used_s if from_s <= 0.0 else 0.0) + until_s

    def forget(self, function: FunctionId) -> None:
        self.gaps.pop(function, None)
