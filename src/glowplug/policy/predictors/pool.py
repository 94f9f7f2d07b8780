"""pooled: what comes after gaps of this length, over all functions. For those with few calls of their own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import log2
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

BINS = 44
_PER_OCTAVE = 2
_FIRST_EDGE = -2
"""The first bin ends at 2^-2 s, each other is half an octave wide, the last begins at 2^19 s, six days."""
EDGES_S: tuple[float, ...] = (0.0, *(2.0 ** (_FIRST_EDGE + k / _PER_OCTAVE) for k in range(BINS - 1)))
_EDGES = np.array(EDGES_S)
NEW, CALLED_ONCE = BINS, BINS + 1
ROWS = BINS + 2
"""A row for each bin that a function's usual gap may lie in, one for functions that were never called, of
which none is asked about, and one for those that were called once."""

Rows = list[list[float]]


def bin_of(gap_s: float) -> int:
    return bisect_right(EDGES_S, gap_s) - 1


class Level(msgspec.Struct):
    """A function's usual gap: the fading mean of its logarithm. What the pool knows of the function."""

    gain: ClassVar[float] = 0.5

    row: int = CALLED_ONCE
    log2_s: float = 0.0

    def observe(self, gap_s: float) -> None:
        found = log2(max(gap_s, EDGES_S[1]))
        if self.row >= BINS:
            self.log2_s = found
        else:
            self.log2_s += self.gain * (found - self.log2_s)
        self.row = bin_of(2.0**self.log2_s)


class Pool(msgspec.Struct):
    """`counts[row][bin]` are gaps of that length of functions in that row; `hazards[row][bin]` is H at the
    bin's lower edge, with one more entry for where the last bin ends, as last fitted. The two are apart
    because functions that are still silent count as well, and they are looked at only in `fit`.
    """

    most: ClassVar[float] = 50_000.0
    """Gaps in a row: beyond, its counts are halved, so that the old fade."""
    own_gaps: ClassVar[float] = 4.0
    """A row believes in the hazard over all rows as much as if it came of so many gaps."""

    counts: Rows = msgspec.field(default_factory=lambda: [[0.0] * BINS for _ in range(ROWS)])
    hazards: Rows = msgspec.field(default_factory=lambda: _no_knowledge())

    def learn(self, row: int, gap_s: float) -> None:
        """A function of `row` was called again after `gap_s`."""
        counts = self.counts[row]
        at = bin_of(gap_s)
        counts[at] += 1
        if counts[at] > self.most:
            counts[:] = [count / 2 for count in counts]

    def hazard(self, row: int, age_s: float) -> float:
        """H(age) of a function in `row`, linear within a bin."""
        at, hazards = bin_of(age_s), self.hazards[row]
        low, high = hazards[at], hazards[at + 1]
        if at == BINS - 1:
            # No end: as unlikely in each further length of the last bin as in the first.
            part = age_s / EDGES_S[at] - 1
        else:
            part = (age_s - EDGES_S[at]) / (EDGES_S[at + 1] - EDGES_S[at])
        return low + (high - low) * part

    def fit(self, rows: Sequence[int], ages_s: Sequence[float]) -> None:
        """Hazards by Kaplan and Meier (1958), over the gaps that ended and those that have not: functions of
        `rows` are silent for `ages_s`. Without these the long gaps would be missing, as they are still open.
        """
        ended = np.array(self.counts)
        found = np.zeros_like(ended)
        np.add.at(found, (np.asarray(rows, dtype=np.int64), bins_of(np.asarray(ages_s, dtype=float))), 1.0)
        overall = _shares(ended.sum(0), found.sum(0), _even_shares(), 1.0)
        shares = _shares(ended, found, overall, self.own_gaps)
        self.hazards = _summed(shares).tolist()


def bins_of(ages_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """`bin_of` each."""
    return np.searchsorted(_EDGES, ages_s, side="right") - 1


def _shares(
    ended: NDArray[np.float64], still: NDArray[np.float64], prior: NDArray[np.float64], weight: float
) -> NDArray[np.float64]:
    """By bin: of the gaps that reached it, the share that ended in it. Those still open in it count half."""
    reached = np.cumsum((ended + still)[..., ::-1], axis=-1)[..., ::-1] - still / 2
    return np.minimum((ended + weight * prior) / (reached + weight), 0.999)


def _even_shares() -> NDArray[np.float64]:
    """Every bin, which is every half octave, as likely as another; half of what is left ends in the last."""
    shares = 1.0 / np.arange(BINS, 0, -1)
    shares[-1] = 0.5
    return shares


def _summed(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hazards at the edges: 0 first."""
    hazards = np.cumsum(-np.log1p(-shares), axis=-1)
    return np.concatenate([np.zeros((*shares.shape[:-1], 1)), hazards], axis=-1)


def _no_knowledge() -> Rows:
    row: list[float] = _summed(_even_shares()).tolist()
    return [list(row) for _ in range(ROWS)]
