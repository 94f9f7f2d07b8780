"""What holds for every model of gaps, and what each is for."""

from __future__ import annotations

from itertools import pairwise
from math import exp, log
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.policy.predictors import GapModel, chance
from glowplug.policy.predictors.histogram import HOUR_S, TOP, GapHistogram, bin_of
from glowplug.policy.predictors.periodic import Periodic
from glowplug.policy.predictors.poisson import PoissonWindow
from glowplug.policy.predictors.pool import Pool
from glowplug.policy.predictors.quantiles import Quantiles

GAPS = st.lists(st.floats(0.25, 1e6), max_size=80)
AGES = st.floats(0.0, 1e7)
IGNORANT = Pool()
KINDS = [PoissonWindow, GapHistogram, Periodic]


def prior(age_s: float) -> float:
    """As if a pool knew nothing."""
    return IGNORANT.hazard(0, age_s)


def taught(kind: type[GapModel], gaps_s: list[float]) -> GapModel:
    model = kind()
    for gap_s in gaps_s:
        model.observe(gap_s)
    return model


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(gaps_s=GAPS, ages_s=st.tuples(AGES, AGES))
def test_hazards_begin_at_nought_and_never_fall(
    kind: type[GapModel], gaps_s: list[float], ages_s: tuple[float, float]
) -> None:
    model = taught(kind, gaps_s)
    assert model.hazard(0.0, 0.0) == pytest.approx(0.0, abs=1e-9)
    low, high = sorted(ages_s)
    before, after = (model.hazard(age_s, prior(age_s)) for age_s in (low, high))
    assert before <= after + 1e-9 * (1 + abs(after))
    assert 0.0 <= chance(before, after) <= 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_without_gaps_the_prior_is_believed(kind: type[GapModel]) -> None:
    assert kind().hazard(7.0, 0.3) == pytest.approx(0.3)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(gaps_s=GAPS, p=st.floats(0.0, 0.99))
def test_a_quantile_is_where_the_hazard_says(kind: type[GapModel], gaps_s: list[float], p: float) -> None:
    model = taught(kind, gaps_s)

    def hazard(age_s: float) -> float:
        return model.hazard(age_s, prior(age_s))

    found_s = Quantiles(hazard)(p)
    if found_s < 1e7:
        assert hazard(found_s) >= -log(1 - p) - 1e-9
        assert hazard(max(found_s * 0.998 - 1e-9, 0.0)) <= -log(1 - p) + 1e-9


def test_a_rate_is_that_of_the_window() -> None:
    model = PoissonWindow()
    for gap_s in [1000.0] * 5 + [2.0] * PoissonWindow.window:
        model.observe(gap_s)
    assert model.rate_per_s == pytest.approx(0.5)
    # As certain as 16 gaps make it: exp(-0.5 x 2) were it known, less for a long silence.
    assert exp(-model.hazard(2.0, 0.0)) == pytest.approx(exp(-1), abs=0.02)
    assert exp(-model.hazard(40.0, 0.0)) > 100 * exp(-20)


@settings(deadline=None)
@given(GAPS)
def test_the_window_adds_up(gaps_s: list[float]) -> None:
    model = PoissonWindow()
    for gap_s in gaps_s:
        model.observe(gap_s)
    assert model.total_s == pytest.approx(sum(gaps_s[-PoissonWindow.window :]), rel=1e-6, abs=1e-3)


def test_bins_are_seconds_then_minutes() -> None:
    assert [bin_of(s) for s in (0.0, 0.99, 1.0, 3599.9, 3600.0, 3659.0, 3660.0, 1e9)] == [
        0, 0, 1, HOUR_S - 1, HOUR_S, HOUR_S, HOUR_S + 1, TOP,
    ]  # fmt: skip


@settings(deadline=None)
@given(GAPS)
def test_the_histogram_has_the_last_gaps(gaps_s: list[float]) -> None:
    model = GapHistogram()
    for gap_s in gaps_s:
        model.observe(gap_s)
    last = gaps_s[-GapHistogram.window :]
    assert model.ordered == sorted(model.recent) == sorted(map(bin_of, last))
    assert model.longer(0.0) == len(last)


def test_a_histogram_knows_when_not_to_expect_anything() -> None:
    model = GapHistogram()
    for gap_s in [10.5, 300.5] * 20:
        model.observe(gap_s)

    def within(age_s: float, more_s: float) -> float:
        return chance(*(model.hazard(age, prior(age)) for age in (age_s, age_s + more_s)))

    assert within(9.0, 4.0) == pytest.approx(0.5, abs=0.05)
    assert within(100.0, 4.0) < 0.02
    assert within(299.0, 4.0) > 0.9


def test_a_clock_is_learned_under_jitter() -> None:
    draw, model = Random(1), Periodic()
    late_s = [draw.uniform(0, 20) for _ in range(40)]
    for before_s, after_s in pairwise(late_s):
        model.observe(300 + after_s - before_s)
    assert model.period_s == pytest.approx(300, abs=2)
    # The last was late by late_s[-1]; a clock's next is 310 on average after its last due.
    assert model.due_s == pytest.approx(310 - late_s[-1], abs=5)
    hazards = [model.hazard(model.due_s + off_s, 0.0) for off_s in (-40.0, -15.0, 15.0)]
    assert chance(hazards[0], hazards[1]) < 0.15
    assert chance(hazards[1], hazards[2]) > 0.8


def test_firings_that_are_missed_do_not_lose_the_clock() -> None:
    draw, model = Random(2), Periodic()
    for _ in range(60):
        model.observe(60.0 * draw.choice([1, 1, 1, 2]))
    assert model.period_s == pytest.approx(60, abs=0.5)
    assert 0.05 < model.missing < 0.5
    after_a_miss = chance(model.hazard(110.0, 0.0), model.hazard(130.0, 0.0))
    assert after_a_miss > 0.5


def test_more_calls_of_one_firing_do_not_lose_the_clock() -> None:
    model = Periodic()
    for gap_s in [60.0] * 10 + [0.5]:
        model.observe(gap_s)
    assert model.period_s == pytest.approx(60)
    assert model.due_s == pytest.approx(59.5)


def test_another_clock_is_found_when_the_first_is_gone() -> None:
    model = Periodic()
    for gap_s in [60.0] * 10 + [200.0] * 10:
        model.observe(gap_s)
    assert model.period_s == pytest.approx(200, abs=1)
