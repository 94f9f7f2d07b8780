from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.bench.pairs import paired_ratio, student_quantile


def test_students_quantiles() -> None:
    """From tables of the distribution."""
    for freedom, expected in ((4, 2.7764), (7, 2.3646), (19, 2.0930), (100, 1.9840)):
        assert student_quantile(0.975, freedom) == pytest.approx(expected, rel=1e-3)


def test_a_constant_ratio_is_sure() -> None:
    found = paired_ratio([2.0, 4.0, 10.0], [1.0, 2.0, 5.0])
    assert (found.ratio, found.low, found.high, found.pairs) == pytest.approx((2.0, 2.0, 2.0, 3))


def test_a_single_pair_has_no_interval() -> None:
    found = paired_ratio([3.0], [2.0])
    assert found.ratio == found.low == found.high == pytest.approx(1.5)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=20))
def test_swapping_both_sides_turns_the_interval_over(pairs: list[tuple[float, float]]) -> None:
    over, under = zip(*pairs, strict=True)
    there, back = paired_ratio(over, under), paired_ratio(under, over)
    assert there.low <= there.ratio <= there.high
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert there.high == pytest.approx(1 / back.low)


@pytest.mark.parametrize(("over", "under"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_is_no_pair(over: list[float], under: list[float]) -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired_ratio(over, under)
