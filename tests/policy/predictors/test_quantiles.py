"""Several quantiles of one hazard: each is what it would be if it were the only one."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.policy.predictors.choice import Choice
from glowplug.policy.predictors.pool import Pool
from glowplug.policy.predictors.quantiles import LONGEST_S, Quantiles

GAPS = st.lists(st.floats(0.25, 1e5), max_size=40)
SHARES = st.lists(st.floats(0.0, 0.999), min_size=1, max_size=6)


def hazard_of(gaps_s: list[float]) -> Callable[[float], float]:
    pool, model = Pool(), Choice.begin(0.0)
    for gap_s in gaps_s:
        model.observe(model.last_s + gap_s, pool)
    return lambda age_s: model.hazard(age_s, pool)


@settings(deadline=None)
@given(GAPS, SHARES, st.floats(0.0, 1e6))
def test_what_was_asked_before_changes_nothing(
    gaps_s: list[float], shares: list[float], near_s: float
) -> None:
    hazard = hazard_of(gaps_s)
    together = Quantiles(hazard, near_s)
    assert [together(share) for share in shares] == [Quantiles(hazard)(share) for share in shares]


@settings(deadline=None)
@given(GAPS, SHARES, st.floats(0.0, 1e6))
def test_what_comes_no_later_may_be_told_roughly(
    gaps_s: list[float], shares: list[float], beyond_s: float
) -> None:
    hazard = hazard_of(gaps_s)
    roughly = Quantiles(hazard, beyond_s)
    for share in shares:
        exact_s, told_s = Quantiles(hazard)(share), roughly(share, beyond_s)
        assert told_s == exact_s or max(told_s, exact_s) <= beyond_s


def test_no_age_is_looked_at_twice() -> None:
    looked: list[float] = []

    def hazard(age_s: float) -> float:
        looked.append(age_s)
        return age_s / 300

    quantiles = Quantiles(hazard, 300.0)
    for share in (0.6, 0.02, 0.1, 0.3, 0.6):
        quantiles(share)
    assert len(looked) == len(set(looked)) < 50
    seen = len(looked)
    assert quantiles(0.3) == Quantiles(lambda age_s: age_s / 300)(0.3)
    assert len(looked) == seen


def test_of_what_is_over_by_then_one_look_is_enough() -> None:
    looked: list[float] = []

    def hazard(age_s: float) -> float:
        looked.append(age_s)
        return age_s

    quantiles = Quantiles(hazard, 50.0)
    assert all(quantiles(share, 50.0) <= 50.0 for share in (0.6, 0.9, 0.99, 0.999))
    assert len(looked) == 1


def test_next_to_nothing_is_found_and_never_is_cut_off() -> None:
    assert Quantiles(lambda age_s: age_s / 300)(5e-324) <= 1e-9
    assert Quantiles(lambda age_s: 0.0, 5.0)(0.5) == LONGEST_S
    assert Quantiles(lambda age_s: 0.0, 1e300)(0.5) == LONGEST_S
