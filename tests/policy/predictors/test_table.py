"""All functions' predictions, one by one and in batches."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.policy.predictors import RESOLUTION_S
from glowplug.policy.predictors.batch import Batch
from glowplug.policy.predictors.choice import MODELS
from glowplug.policy.predictors.histogram import GapHistogram
from glowplug.policy.predictors.periodic import Periodic
from glowplug.policy.predictors.poisson import PoissonWindow
from glowplug.policy.predictors.table import Predictors

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call", "call", "call", "call", "forget", "fit", "back"]),
        st.sampled_from("abc"),
        st.floats(0.0, 2000.0) | st.sampled_from([0.0, 1.0, 60.0, 300.0]),
    ),
    max_size=120,
)
NOW_S = st.floats(0.0, 5000.0)


def play(predictors: Predictors, steps: list[tuple[str, str, float]]) -> float:
    """Returns when it ended."""
    now_s = 0.0
    for what, key, after_s in steps:
        now_s = max(0.0, now_s - after_s) if what == "back" else now_s + after_s
        if what == "forget":
            predictors.forget(key)
        elif what == "fit":
            predictors.fit(now_s)
        else:
            predictors.observe(key, now_s)
    return now_s


@settings(deadline=None)
@given(STEPS, NOW_S, st.tuples(st.floats(0.0, 1e5), st.floats(0.0, 1e5)))
def test_chances_are_such_and_grow_with_the_horizon(
    steps: list[tuple[str, str, float]], later_s: float, within_s: tuple[float, float]
) -> None:
    predictors = Predictors()
    now_s = play(predictors, steps) + later_s
    for key in "abc":
        shorter, longer = (predictors.chance(key, now_s, h) for h in sorted(within_s))
        assert 0.0 <= shorter <= longer + 1e-9 <= 1.0 + 1e-9


@settings(deadline=None)
@given(STEPS, STEPS, NOW_S, st.floats(0.0, 1e5))
def test_a_batch_says_what_each_says_alone(
    steps: list[tuple[str, str, float]],
    more: list[tuple[str, str, float]],
    later_s: float,
    within_s: float,
) -> None:
    predictors = Predictors()
    play(predictors, steps)
    batch = Batch(predictors)
    rows = [batch.row(key) for key in "abcd"]
    for _ in range(2):
        now_s = play(predictors, more) + later_s
        alone = [predictors.chance(key, now_s, within_s) for key in "abcd"]
        assert batch.chances(rows, now_s, within_s) == pytest.approx(alone, rel=1e-9, abs=1e-9)
        by_model = batch.chances_by_model(rows, now_s, within_s)
        assert ((by_model >= 0) & (by_model <= 1)).all()
        weights = batch.weights(batch.known())
        assert weights.sum(axis=0) == pytest.approx(np.ones(weights.shape[1]))


@settings(deadline=None)
@given(STEPS)
def test_what_is_kept_of_a_function_is_bounded(steps: list[tuple[str, str, float]]) -> None:
    predictors = Predictors()
    play(predictors, steps * 2)
    for each in predictors.functions.values():
        assert len(each.poisson.gaps_s) <= PoissonWindow.window
        assert len(each.histogram.recent) == len(each.histogram.ordered) <= GapHistogram.window
        assert len(each.periodic.gaps_s) <= Periodic.recent
        assert sum(each.weights) == pytest.approx(1.0)
        assert min(each.weights) > 0


@settings(deadline=None)
@given(STEPS, STEPS)
def test_a_snapshot_goes_on_as_if_nothing_had_been(
    steps: list[tuple[str, str, float]], more: list[tuple[str, str, float]]
) -> None:
    predictors = Predictors()
    play(predictors, steps)
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(predictors), type=Predictors)
    assert restored == predictors
    play(predictors, more)
    play(restored, more)
    assert restored == predictors


def test_a_batch_grows_with_its_functions() -> None:
    predictors = Predictors()
    batch = Batch(predictors)
    for number in range(500):
        predictors.observe(f"f{number}", 1.0 * number)
    rows = [batch.row(f"f{number}") for number in range(500)]
    assert (batch.chances(rows, 600.0, np.full(500, 60.0)) > 0).all()
    assert len(batch.known()) == 500


def test_who_is_not_known_is_not_expected() -> None:
    predictors = Predictors()
    assert predictors.chance("a", 0.0, 10.0) == 0.0
    with pytest.raises(KeyError):
        predictors.quantiles("a")


def test_a_burst_is_one_arrival() -> None:
    once, burst = Predictors(), Predictors()
    for at_s in (0.0, 60.0, 120.0):
        once.observe("a", at_s)
        for number in range(10):
            burst.observe("a", at_s + number * RESOLUTION_S / 20)
    assert once == burst


def test_a_clock_that_jumps_back_teaches_nothing() -> None:
    predictors = Predictors()
    for at_s in (1000.0, 1060.0, 1120.0):
        predictors.observe("a", at_s)
    learned = predictors.learned
    predictors.observe("a", 5.0)
    assert predictors.learned == learned
    assert predictors.chance("a", 5.0, 100.0) > 0.5
    assert predictors.chance("a", 0.0, 100.0) > 0.5


def test_a_timer_is_foreseen_to_the_second() -> None:
    predictors = Predictors()
    for firing in range(30):
        predictors.observe("timer", 300.0 * firing)
    last_s = 29 * 300.0
    assert predictors.chance("timer", last_s + 200, 4.0) < 0.01
    assert predictors.chance("timer", last_s + 297, 6.0) > 0.9
    assert predictors.quantiles("timer")(0.5) == pytest.approx(300, abs=2)


def test_the_choice_leans_to_the_model_that_is_right() -> None:
    predictors, draw = Predictors(), np.random.default_rng(1)
    for at_s in np.cumsum(draw.exponential(30.0, 200)).tolist():
        predictors.observe("random", at_s)
    for firing in range(200):
        predictors.observe("clock", 60.0 * firing + draw.uniform(0, 5))
    random, clock = (
        dict(zip(MODELS, predictors.functions[key].weights, strict=True)) for key in ("random", "clock")
    )
    assert random["poisson"] > 0.4
    assert random["poisson"] > 4 * clock["poisson"]
    assert clock["periodic"] + clock["histogram"] > 0.9


def test_what_changed_is_noted_for_a_batch_alone() -> None:
    predictors = Predictors()
    for number in range(100):
        predictors.observe(f"{number}", float(number))
        predictors.forget(f"{number}")
    assert predictors.changed is None
    predictors.observe("f", 100.0)
    batch = Batch(predictors)
    row = batch.row("f")
    before = batch.chances([row], 100.0, 60.0)[0]
    predictors.observe("f", 110.0)
    after = batch.chances([row], 110.0, 60.0)[0]
    assert before > 0
    assert after == pytest.approx(predictors.chance("f", 110.0, 60.0))
    assert after != before
