"""How much is needed soon, beside the chance within the horizon alone."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

from hypothesis import given
from hypothesis import strategies as st

from glowplug.policy.soon import LATER, WIDER, needed_soon

_HORIZON_S = 4.0


def _timer(due_s: float) -> Callable[[float], float]:
    return lambda ahead_s: 1.0 if ahead_s >= due_s else 0.0


def _poisson(rate_per_s: float) -> Callable[[float], float]:
    return lambda ahead_s: 1.0 - exp(-rate_per_s * ahead_s)


def test_what_is_due_a_little_later_is_needed_more_than_what_is_rare() -> None:
    rare = needed_soon(_poisson(1 / 3600), _HORIZON_S)
    assert needed_soon(_timer(3.0), _HORIZON_S) == 1.0
    assert 1.0 > needed_soon(_timer(10.0), _HORIZON_S) > needed_soon(_timer(50.0), _HORIZON_S) > rare


def test_what_is_further_away_than_the_last_of_the_times_is_not_needed() -> None:
    assert needed_soon(_timer(_HORIZON_S * LATER[-1] + 1.0), _HORIZON_S) == 0.0


@given(st.floats(1e-6, 10.0))
def test_what_may_come_at_any_time_is_needed_by_its_chance_within_the_horizon(rate_per_s: float) -> None:
    chance = _poisson(rate_per_s)
    assert needed_soon(chance, _HORIZON_S) == chance(_HORIZON_S)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_chance_that_could_not_say_more_is_not_asked_for(first: float, second: float, third: float) -> None:
    first, second, third = sorted((first, second, third))
    chances = dict(
        zip((_HORIZON_S, *(times * _HORIZON_S for times in LATER)), (first, second, third), strict=True)
    )
    asked: list[float] = []

    def chance(ahead_s: float) -> float:
        asked.append(ahead_s)
        return chances[ahead_s]

    least = [0.1 * chances[times * _HORIZON_S] / times for times in LATER]
    assert needed_soon(chance, _HORIZON_S) == max(first, *least)
    if first > 0.1 / WIDER:
        assert asked == [_HORIZON_S]
