"""The hybrid histogram, and what is simpler than it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pytest

from glowplug.core.ids import FunctionId
from glowplug.policy.prewarm.histogram import BIN_S, Histogram
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


@pytest.mark.parametrize(("gap_s", "calls"), [(60.0, 5), (5 * 3600.0, 40)])
def test_what_is_not_telling_keeps_the_fixed_time(gap_s: float, calls: int) -> None:
    policy, now_s, from_s = called(gap_s, calls)
    assert from_s == inf
    assert policy.keep_until_s(Idle(now_s), now_s) == now_s + 600.0


def test_a_forgotten_function_is_a_new_one() -> None:
    policy, now_s, _ = called(20.0, 30)
    policy.forget(F)
    assert policy.keep_until_s(Idle(now_s), now_s) == now_s + 600.0


def test_kept_keeps_and_pagurus_keeps_as_fixed_does() -> None:
    assert Kept().keep_until_s(Idle(5.0), 1e9) == inf
    assert not Kept().takes_over
    assert Pagurus().keep_until_s(Idle(5.0), 10.0) == 605.0
    assert Pagurus().takes_over
