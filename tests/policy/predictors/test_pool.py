"""What functions teach each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.policy.predictors import chance
from glowplug.policy.predictors.pool import (
    BINS,
    CALLED_ONCE,
    EDGES_S,
    NEW,
    ROWS,
    Level,
    Pool,
    bin_of,
    bins_of,
)

AGES = st.floats(0.0, 1e7)


@settings(deadline=None)
@given(st.lists(AGES, max_size=20))
def test_bins_one_by_one_and_together(ages_s: list[float]) -> None:
    assert bins_of(np.array(ages_s)).tolist() == [bin_of(age_s) for age_s in ages_s]


def test_bins_begin_at_their_edges() -> None:
    assert [bin_of(edge_s) for edge_s in EDGES_S] == list(range(BINS))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, ROWS - 1), AGES), max_size=50),
    st.lists(st.tuples(st.integers(0, ROWS - 1), AGES), max_size=20),
    st.tuples(st.integers(0, ROWS - 1), AGES, AGES),
)
def test_hazards_begin_at_nought_and_never_fall(
    ended: list[tuple[int, float]], still: list[tuple[int, float]], asked: tuple[int, float, float]
) -> None:
    pool = Pool()
    for row, gap_s in ended:
        pool.learn(row, gap_s)
    pool.fit([row for row, _ in still], [age_s for _, age_s in still])
    row, *ages_s = asked
    low, high = sorted(ages_s)
    assert pool.hazard(row, 0.0) == 0.0
    assert pool.hazard(row, low) <= pool.hazard(row, high)


def test_a_row_comes_to_say_what_its_gaps_were() -> None:
    pool = Pool()
    for number in range(1000):
        pool.learn(10, 1.0 if number % 4 else 1000.0)
    pool.fit([], [])
    assert chance(0.0, pool.hazard(10, 2.0)) == pytest.approx(0.75, abs=0.02)
    assert chance(pool.hazard(10, 2.0), pool.hazard(10, 700.0)) < 0.05
    # Another row has only heard of it.
    assert 0.1 < chance(0.0, pool.hazard(20, 2.0)) < 0.75


def test_those_still_silent_count() -> None:
    """Ten were called again within a second; ninety were not, for a day."""
    pool = Pool()
    for _ in range(10):
        pool.learn(CALLED_ONCE, 1.0)
    pool.fit([], [])
    assert chance(0.0, pool.hazard(CALLED_ONCE, 2.0)) > 0.6
    pool.fit([CALLED_ONCE] * 90, [86_400.0] * 90)
    assert chance(0.0, pool.hazard(CALLED_ONCE, 2.0)) == pytest.approx(0.1, abs=0.02)


def test_the_old_fade() -> None:
    pool = Pool()
    for _ in range(int(Pool.most) + 1):
        pool.learn(3, 5.0)
    assert sum(pool.counts[3]) == pytest.approx(Pool.most / 2, rel=0.01)


def test_a_level_is_the_mean_of_logarithms_and_fades() -> None:
    level = Level()
    assert level.row == CALLED_ONCE
    level.observe(64.0)
    assert level.row == bin_of(64.0)
    level.observe(16.0)
    assert level.row == bin_of(32.0)
    assert NEW not in range(BINS)
