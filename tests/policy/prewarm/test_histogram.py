"""The hybrid histogram, and what is simpler than it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pytest

from glowplug.core.ids import FunctionId
from glowplug.policy.prewarm.histogram import BIN_S, RANGE_S, Histogram
from glowplug.policy.prewarm.kept import Kept
from glowplug.policy.prewarm.pagurus import Pagurus

F = FunctionId("f.default")


@dataclass
class Idle:
    used_s: float
    function: FunctionId = F
    keep_warm_s: float = 600.0


def called(gap_s: float, calls: int) -> tuple[Histogram, float, float]:
    """The policy, when the last call came, and when it wants a worker."""
    policy, now_s, from_s = Histogram(), 0.0, inf
    for number in range(calls):
        now_s = number * gap_s
        from_s = policy.arrived(F, now_s)
    return policy, now_s, from_s


def test_a_timer_is_let_go_and_warmed_before_it_comes() -> None:
    policy, now_s, from_s = called(30.5 * BIN_S, 12)
    assert from_s == pytest.approx(now_s + 30 * BIN_S * 0.9)
    assert policy.keep_until_s(Idle(now_s), now_s + 1.0) == now_s + 1.0
    assert policy.keep_until_s(Idle(from_s), from_s) == pytest.approx(now_s + 31 * BIN_S * 1.1)


def test_frequent_calls_keep_it_until_the_tail() -> None:
    policy, now_s, from_s = called(20.0, 30)
    assert from_s == inf
    assert policy.keep_until_s(Idle(now_s), now_s + 1.0) == pytest.approx(now_s + BIN_S * 1.1)


def test_one_gap_says_more_than_none() -> None:
    policy, now_s, from_s = called(30.5 * BIN_S, 1)
    assert from_s == inf
    assert policy.keep_until_s(Idle(now_s), now_s) == now_s + RANGE_S
    _, now_s, from_s = called(30.5 * BIN_S, 2)
    assert from_s == pytest.approx(now_s + 30 * BIN_S * 0.9)


@pytest.mark.parametrize(("places", "is_certain"), [(48, True), (49, False)])
def test_gaps_that_may_be_anything_keep_it_for_as_long_as_the_histogram_reaches(
    places: int, is_certain: bool
) -> None:
    """As many gaps in each of so many bins: the coefficient of variation is sqrt(240 / places - 1)."""
    policy, now_s, from_s = Histogram(), 0.0, inf
    for gap in (0, *range(1, places + 1), *range(1, places + 1)):
        now_s += (gap + 0.5) * BIN_S
        from_s = policy.arrived(F, now_s)
    assert (from_s < inf) is is_certain
    until_s = policy.keep_until_s(Idle(now_s), now_s)
    assert until_s == (now_s if is_certain else now_s + RANGE_S)


def test_gaps_beyond_the_histogram_keep_the_fixed_time() -> None:
    policy, now_s, from_s = called(5 * 3600.0, 40)
    assert from_s == inf
    assert policy.keep_until_s(Idle(now_s), now_s) == now_s + 600.0


def test_a_forgotten_function_is_a_new_one() -> None:
    policy, now_s, _ = called(20.0, 30)
    policy.forget(F)
    assert policy.keep_until_s(Idle(now_s), now_s) == now_s + RANGE_S


def test_kept_keeps_and_pagurus_keeps_as_fixed_does() -> None:
    assert Kept().keep_until_s(Idle(5.0), 1e9) == inf
    assert not Kept().takes_over
    assert Pagurus().keep_until_s(Idle(5.0), 10.0) == 605.0
    assert Pagurus().takes_over
