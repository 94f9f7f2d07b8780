"""Predictions for all functions: one mixture each, and the pool that they share."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from glowplug.policy.predictors import RESOLUTION_S, chance
from glowplug.policy.predictors.choice import Choice
from glowplug.policy.predictors.pool import Pool
from glowplug.policy.predictors.quantiles import Quantiles


class Predictors(msgspec.Struct):
    """Times are seconds of one clock. Where it jumps back, an arrival teaches nothing but when it was.

    `changed` are the functions that a batch has to read again (`predictors/batch.py`), where there is one.
    """

    fit_every_s: ClassVar[float] = 60.0
    fit_growth: ClassVar[float] = 1.5

    pool: Pool = msgspec.field(default_factory=Pool)
    functions: dict[str, Choice] = {}
    changed: set[str] | None = None
    learned: int = 0
    fitted_at: int = 0
    fitted_s: float = 0.0

    def observe(self, key: str, t_s: float) -> None:
        """An arrival: 10 to 20 us, and once a minute half a microsecond for each function (`fit`)."""
        found = self.functions.get(key)
        if found is None:
            self.functions[key] = Choice.begin(t_s)
        elif t_s - found.last_s < RESOLUTION_S:
            if t_s >= found.last_s:
                return
            found.last_s = t_s
        else:
            found.observe(t_s, self.pool)
            self.learned += 1
        self._note(key)
        if t_s >= self.fitted_s + self.fit_every_s or self.learned > 10 + self.fit_growth * self.fitted_at:
            self.fit(t_s)

    def forget(self, key: str) -> None:
        if self.functions.pop(key, None) is not None:
            self._note(key)

    def _note(self, key: str) -> None:
        if self.changed is not None:
            self.changed.add(key)

    def chance(self, key: str, now_s: float, within_s: float) -> float:
        """P(arrival in (now, now + within] | none since the last); 0 for a function that is not known."""
        found = self.functions.get(key)
        if found is None:
            return 0.0
        age_s = max(0.0, now_s - found.last_s)
        return chance(found.hazard(age_s, self.pool), found.hazard(age_s + within_s, self.pool))

    def quantiles(self, key: str, near_s: float = RESOLUTION_S) -> Quantiles:
        """Seconds from the last arrival within which the next comes. To be used before anything is observed.

        Raises KeyError for a function that is not known.
        """
        found, pool = self.functions[key], self.pool
        return Quantiles(lambda age_s: found.hazard(age_s, pool), near_s)

    def fit(self, now_s: float) -> None:
        """Brings the pool up to date with the gaps that ended and the silence of everybody else."""
        known = self.functions.values()
        ages_s = [max(0.0, now_s - each.last_s) for each in known]
        self.pool.fit([each.level.row for each in known], ages_s)
        self.fitted_at, self.fitted_s = self.learned, now_s
