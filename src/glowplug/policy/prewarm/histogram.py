"""histogram: a sandbox for a function from shortly before it is likely to be called until it hardly is any
more.

Source: Shahrad et al., "Serverless in the Wild" (ATC 2020), the hybrid policy: a histogram of idle times, one
bin a minute over four hours; its head (5th percentile) is when to warm up again, its tail (99th) until when
to keep. Where calls are too few, or too many lie outside, a fixed time is kept. Their third way, an ARIMA
model for gaps beyond the histogram, is not made: such gaps are kept the fixed time as well.
"""

from __future__ import annotations

from math import inf

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.prewarm import KeepView

BIN_S = 60.0
BINS = 240
_HEAD, _TAIL = 0.05, 0.99
_MARGIN = 0.1
"""The head is taken so much earlier and the tail so much later, as in the paper."""
_LEAST_GAPS = 10
_MOST_OUTSIDE = 0.5


class Gaps(msgspec.Struct):
    """One function's idle times by minute. Times before the first call count for nothing."""

    last_s: float
    counts: dict[int, int] = {}
    inside: int = 0
    outside: int = 0

    def observe(self, now_s: float) -> None:
        gap = int(max(0.0, now_s - self.last_s) // BIN_S)
        self.last_s = now_s
        if gap < BINS:
            self.counts[gap] = self.counts.get(gap, 0) + 1
            self.inside += 1
        else:
            self.outside += 1

    @property
    def is_telling(self) -> bool:
        return self.inside >= _LEAST_GAPS and self.outside <= _MOST_OUTSIDE * (self.inside + self.outside)

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
        if not known.is_telling:
            return inf
        from_s, _ = known.window_s()
        return now_s + from_s if from_s > 0.0 else inf

    def keep_until_s(self, view: KeepView, now_s: float) -> float:
        known = self.gaps.get(view.function)
        if known is None or not known.is_telling:
            return view.used_s + view.keep_warm_s
        from_s, until_s = known.window_s()
        if from_s > 0.0 and now_s < known.last_s + from_s:
            return now_s
        return max(known.last_s, view.used_s if from_s <= 0.0 else 0.0) + until_s

    def forget(self, function: FunctionId) -> None:
        self.gaps.pop(function, None)
