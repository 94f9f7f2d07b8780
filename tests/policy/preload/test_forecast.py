"""What is kept of a forecast, and what is left out of it, changes no chance."""

from __future__ import annotations

import numpy as np
import pytest

from glowplug.core.ids import FunctionId
from glowplug.policy.predictors.choice import Choice
from glowplug.policy.preload.forecast import Forecast

OFTEN, ONCE, NEVER = FunctionId("often"), FunctionId("once"), FunctionId("never")
TIMES_S = (0.0, 0.5, 4.0, 16.0, 64.0, 3600.0)


def learned() -> Forecast:
    """Of functions that came at all kinds of gaps, one more that came once, and a pool that knows of them."""
    forecast, rng = Forecast(), np.random.default_rng(1)
    for number in range(20):
        at_s = 0.0
        for gap_s in rng.exponential(3.0 * (number + 1), 40):
            at_s += float(gap_s)
            forecast.observe(FunctionId(f"f{number}"), at_s)
    for at_s in (10.0, 20.0, 31.0, 40.0):
        forecast.observe(OFTEN, at_s)
    forecast.observe(ONCE, 30.0)
    return forecast


@pytest.mark.parametrize("function", [OFTEN, ONCE, NEVER])
@pytest.mark.parametrize("now_s", [30.0, 41.5, 900.0])
def test_chances_from_now_on_are_those_asked_for_one_by_one(function: FunctionId, now_s: float) -> None:
    forecast = learned()
    within = forecast.within(function, now_s)
    assert [within(each_s) for each_s in TIMES_S] == [
        forecast.needed(function, now_s, 0.0, each_s) for each_s in TIMES_S
    ]


def test_of_a_function_that_was_called_once_all_models_say_what_the_pool_says() -> None:
    pool, once = learned().table.pool, Choice.begin(30.0)
    for age_s in TIMES_S:
        hazards = once.hazards(age_s, pool)
        assert set(hazards) == {once.hazard(age_s, pool)}
    once.observe(34.0, pool)
    assert len(set(once.hazards(2.0, pool))) > 1
