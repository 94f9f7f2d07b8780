"""P(needed) of many functions at once: the models' formulas over columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glowplug.policy.predictors.choice import MODELS, Choice
from glowplug.policy.predictors.histogram import HOUR_S, TOP, GapHistogram
from glowplug.policy.predictors.pool import BINS, EDGES_S, Rows, bins_of
from glowplug.policy.predictors.table import Predictors

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

_PARAMETERS = 10
_PAD = np.uint16(65535)
_EDGES_S = np.array(EDGES_S)
_WIDTHS_S = np.append(np.diff(_EDGES_S), _EDGES_S[-1])
_ROWS = 64


class Batch:
    """A copy of the predictors' parameters, a row for each function; one batch only for one `Predictors`.

    Rows are numbered as functions are named and keep their number for good; who is not known has chance 0.
    """

    def __init__(self, predictors: Predictors) -> None:
        self._predictors = predictors
        self._rows: dict[str, int] = {}
        self._parameters = np.ones((_PARAMETERS, _ROWS))
        self._weights = np.ones((len(MODELS), _ROWS))
        self._bins = np.full((GapHistogram.window, _ROWS), _PAD, dtype=np.uint16)
        self._known = np.zeros(_ROWS, dtype=bool)
        self._fitted: Rows | None = None
        self._pool = np.zeros(0)
        self._changed = predictors.changed = set(predictors.functions)

    def row(self, key: str) -> int:
        """The function's row, also before it is known."""
        row = self._rows.setdefault(key, len(self._rows))
        if row >= len(self._known):
            self._grow(2 * row)
        return row

    def chances(self, rows: Numbers | Sequence[int], now_s: float, within_s: Floats | float) -> Floats:
        """(len(rows),): P(arrival in (now, now + within] | none since the last) of each row's function.

        `within_s` is one number or one for each row. The same as `Predictors.chance` of each.
        """
        chosen = self._chosen(rows)
        age_s = np.maximum(0.0, now_s - self._parameters[0, chosen])
        weights = self._weights[:, chosen]
        before = _mixed(weights, self._hazards(chosen, age_s))
        after = _mixed(weights, self._hazards(chosen, age_s + within_s))
        return self._chances(chosen, before, after)

    def chances_by_model(self, rows: Numbers | Sequence[int], now_s: float, within_s: float) -> Floats:
        """(len(MODELS), len(rows)): what each model alone would say."""
        chosen = self._chosen(rows)
        age_s = np.maximum(0.0, now_s - self._parameters[0, chosen])
        return self._chances(chosen, self._hazards(chosen, age_s), self._hazards(chosen, age_s + within_s))

    def weights(self, rows: Numbers | Sequence[int]) -> Floats:
        """(len(MODELS), len(rows)): how much each model is believed."""
        return self._weights[:, self._chosen(rows)]

    def known(self) -> Numbers:
        """The rows of all functions that are known."""
        self._read_changed()
        return np.flatnonzero(self._known)

    def _chosen(self, rows: Numbers | Sequence[int]) -> Numbers:
        self._read_changed()
        return np.asarray(rows, dtype=np.int64)

    def _chances(self, chosen: Numbers, before: Floats, after: Floats) -> Floats:
        return np.where(self._known[chosen], -np.expm1(np.minimum(before - after, 0.0)), 0.0)

    def _hazards(self, chosen: Numbers, age_s: Floats) -> Floats:
        """`Choice.hazards` of each."""
        _, row, rate_gaps, rate_s, gaps, *clock = self._parameters[:, chosen]
        prior = self._prior(row.astype(np.int64), age_s)
        hazards = np.empty((len(MODELS), len(chosen)))
        hazards[0] = np.where(rate_gaps > 0, rate_gaps * np.log1p(age_s / rate_s), prior)
        hazards[1] = np.log(gaps + GapHistogram.prior_gaps)
        hazards[1] -= _log_longer(self._bins[:, chosen], gaps, age_s, prior)
        hazards[2] = np.where(clock[0] > 0, _passed(age_s, *clock), prior)
        hazards[3] = prior
        return hazards

    def _prior(self, row: Numbers, age_s: Floats) -> Floats:
        """`Pool.hazard` of each."""
        at = bins_of(age_s)
        start = row * (BINS + 1) + at
        low = self._pool[start]
        return np.asarray(low + (self._pool[start + 1] - low) * (age_s - _EDGES_S[at]) / _WIDTHS_S[at])

    def _read_changed(self) -> None:
        predictors = self._predictors
        if self._fitted is not predictors.pool.hazards:
            self._fitted = predictors.pool.hazards
            self._pool = np.array(self._fitted).ravel()
        for key in self._changed:
            found, row = predictors.functions.get(key), self.row(key)
            self._known[row] = found is not None
            if found is not None:
                self._read(row, found)
        self._changed.clear()

    def _read(self, row: int, found: Choice) -> None:
        clock, gaps = found.periodic, found.histogram.ordered
        self._parameters[:, row] = (
            found.last_s,
            found.level.row,
            len(found.poisson.gaps_s),
            found.poisson.window_s,
            len(gaps),
            clock.period_s,
            clock.due_s,
            clock.spread_s,
            clock.missing,
            clock.at_zero,
        )
        self._weights[:, row] = found.weights
        self._bins[: len(gaps), row] = gaps
        self._bins[len(gaps) :, row] = _PAD

    def _grow(self, rows: int) -> None:
        more = rows - len(self._known)
        self._parameters = np.pad(self._parameters, ((0, 0), (0, more)), constant_values=1.0)
        self._weights = np.pad(self._weights, ((0, 0), (0, more)), constant_values=1.0)
        self._bins = np.pad(self._bins, ((0, 0), (0, more)), constant_values=_PAD)
        self._known = np.pad(self._known, (0, more))


def _mixed(weights: Floats, hazards: Floats) -> Floats:
    """`Choice.hazard` of each."""
    least = hazards.min(axis=0)
    return np.asarray(least - np.log((weights * np.exp(least - hazards)).sum(axis=0)))


def _log_longer(bins: NDArray[np.uint16], gaps: Floats, age_s: Floats, prior: Floats) -> Floats:
    """The logarithm of `GapHistogram.longer` and the prior's part. `bins` are (window, n)."""
    minutes = np.minimum(HOUR_S + np.maximum(age_s - HOUR_S, 0.0) / 60, TOP + 1 - 1e-9)
    place = np.where(age_s < HOUR_S, age_s, minutes)
    at = place.astype(np.uint16)
    # Bytes are enough for counts of a window, and eight times faster. Pads are above every bin.
    above = np.add.reduce(bins > at, axis=0, dtype=np.uint8) - (len(bins) - gaps)
    inside = np.add.reduce(bins == at, axis=0, dtype=np.uint8)
    with np.errstate(divide="ignore"):
        longer = np.log(above + inside * (1 - (place - at)))
    return np.asarray(np.logaddexp(longer, np.log(GapHistogram.prior_gaps) - prior))


def _passed(
    age_s: Floats, period_s: Floats, due_s: Floats, spread_s: Floats, missing: Floats, at_zero: Floats
) -> Floats:
    """`Periodic.hazard` of each that has a period; any number for the others."""
    period_s, spread_s, missing = (np.maximum(x, 1e-9) for x in (period_s, spread_s, missing))
    late_s = age_s - due_s
    dues = np.maximum(0.0, np.floor(late_s / period_s + 0.5))
    ahead = 1 / (1 + np.exp(np.minimum((late_s - dues * period_s) / spread_s, 700.0)))
    return np.asarray(-dues * np.log(missing) - np.log1p((1 - missing) * (ahead - 1)) - at_zero)
