"""A histogram of seconds that is cheap to fill: one binary search and one addition."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

FIRST_S = 0.000125
PER_OCTAVE = 4
OCTAVES = 19
BOUNDS_S = tuple(FIRST_S * 2 ** (i / PER_OCTAVE) for i in range(OCTAVES * PER_OCTAVE + 1))
"""Upper bounds of the buckets, 0.125 ms to 66 s, each 19 % above the one before. One more has the rest."""


class Histogram(msgspec.Struct):
    """`counts[i]` are observations up to `BOUNDS_S[i]` and above the bound before; the last has no bound."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def add(self, other: Histogram) -> None:
        self.counts = [own + others for own, others in zip(self.counts, other.counts, strict=True)]
        self.sum_s += other.sum_s

    @property
    def total(self) -> int:
        return sum(self.counts)

    def sparse(self) -> dict[int, int]:
        """The counts that are not zero, by bucket."""
        return {index: count for index, count in enumerate(self.counts) if count}


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """The value below which `share` of the observations lie, to a bucket's width; None without any."""
    wanted = share * sum(counts)
    if not wanted:
        return None
    seen = 0
    for index, count in enumerate(counts):
        if count and seen + count >= wanted:
            if index >= len(BOUNDS_S):
                return BOUNDS_S[-1]
            low_s = BOUNDS_S[index - 1] if index else 0.0
            return low_s + (BOUNDS_S[index] - low_s) * (wanted - seen) / count
        seen += count
    return BOUNDS_S[-1]
