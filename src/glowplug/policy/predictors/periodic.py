"""periodic: a clock calls it, give or take, and now and then does not."""

from __future__ import annotations

from math import exp, floor, log, log1p
from typing import ClassVar

import msgspec

_LEAST_PERIOD_S = 1.0
_LEAST_SPREAD_S = 0.3


class Periodic(msgspec.Struct):
    """Dues at even times, learned from arrivals; at each an arrival comes with probability 1 - `missing`.

    An arrival is off its due by a logistic variable of scale `spread_s`. The clock is believed more than any
    one arrival, as jitter does not add up: `due_s` is the next due as seconds after the last arrival (it may
    be past), corrected by a part of each error. A `period_s` of 0 says that no period is known. The period
    begins as the median of the last few gaps, and again when that has left it.
    """

    recent: ClassVar[int] = 8
    phase_gain: ClassVar[float] = 0.4
    period_gain: ClassVar[float] = 0.1
    memory: ClassVar[float] = 0.85

    gaps_s: list[float] = []
    period_s: float = 0.0
    due_s: float = 0.0
    spread_s: float = 0.0
    missing: float = 0.1
    at_zero: float = 0.0
    """What `passed` says of age 0: a due that is close by, or past."""

    def observe(self, gap_s: float) -> None:
        self.gaps_s.append(gap_s)
        if len(self.gaps_s) > self.recent:
            del self.gaps_s[0]
        median_s = sorted(self.gaps_s)[len(self.gaps_s) // 2]
        if median_s < _LEAST_PERIOD_S:
            self.period_s = 0.0
        elif not self.period_s or abs(median_s - self.period_s) > 0.3 * self.period_s:
            self.period_s = self.due_s = median_s
            self.spread_s = max(_LEAST_SPREAD_S, 0.1 * median_s)
            self.missing = 0.1
        else:
            self._correct(gap_s)
        self.at_zero = self.passed(0.0) if self.period_s else 0.0

    def _correct(self, gap_s: float) -> None:
        off_s = gap_s - self.due_s
        if off_s < -0.75 * self.period_s:
            # Soon after the last one: more of the same firing.
            self.due_s -= gap_s
            return
        missed = max(0, round(off_s / self.period_s))
        off_s -= missed * self.period_s
        # For a logistic variable, E|x| is 2 ln 2 of its scale.
        scale_s = min(abs(off_s), self.period_s / 4) / 1.386
        self.spread_s = max(_LEAST_SPREAD_S, self.memory * self.spread_s + (1 - self.memory) * scale_s)
        share = missed / (missed + 1)
        self.missing = min(0.9, max(0.02, 0.9 * self.missing + 0.1 * share))
        self.due_s = self.period_s - (1 - self.phase_gain) * off_s
        self.period_s += self.period_gain * off_s / (missed + 1)

    def hazard(self, age_s: float, prior: float) -> float:
        if not self.period_s:
            return prior
        return self.passed(age_s) - self.at_zero

    def passed(self, age_s: float) -> float:
        """H(age) up to a constant: dues wholly past were missed, the nearest may still come."""
        late_s, period_s, missing = age_s - self.due_s, self.period_s, self.missing
        dues = floor(late_s / period_s + 0.5)
        if dues < 0:
            dues = 0
        x = (late_s - dues * period_s) / self.spread_s
        # The share of the logistic variable that is still to come.
        ahead = 1 / (1 + exp(x if x < 700.0 else 700.0))
        passed = log1p((1 - missing) * (ahead - 1))
        return -dues * log(missing) - passed if dues else -passed
