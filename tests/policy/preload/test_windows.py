"""The timers of InstaInfer and Tyche."""

from __future__ import annotations

from math import inf, log
from typing import Any

import pytest

from glowplug.core.ids import FunctionId
from glowplug.policy.preload.windows import Windows

F = FunctionId("f.default")


class Rates:
    """As much of a view as windows ask for."""

    def __init__(self, rate_per_s: float) -> None:
        self.rate = rate_per_s

    def rate_per_s(self, function: FunctionId) -> float:
        return self.rate

    def load_s(self, function: FunctionId) -> float:
        return 2.0


def opened(rate_per_s: float, at_s: float = 100.0) -> tuple[Windows, Any]:
    windows, view = Windows(), Rates(rate_per_s)
    windows.arrived(view, F, at_s)  # type: ignore[arg-type]
    return windows, view


def test_a_window_is_from_six_to_ninety_four_percent() -> None:
    windows, _ = opened(0.1)
    assert windows.next_s() == pytest.approx(100.0 - log(0.94) / 0.1)
    windows.turn_over(windows.next_s())
    assert (list(windows.opened), list(windows.closed)) == ([F], [])
    assert windows.next_s() == pytest.approx(100.0 - log(0.06) / 0.1)
    windows.turn_over(windows.next_s())
    assert (list(windows.opened), list(windows.closed)) == ([], [F])
    assert windows.next_s() == inf


def test_an_arrival_starts_anew_and_voids_the_timers_before() -> None:
    windows, view = opened(0.1)
    windows.turn_over(101.0)
    windows.closed[F] = None
    windows.arrived(view, F, 101.0)
    assert not windows.opened
    assert not windows.closed
    assert windows.next_s() == pytest.approx(101.0 - log(0.94) / 0.1)
    assert len([timer for timer in windows.timers if timer[2] == 2]) == 2


def test_nothing_is_known_of_one_call() -> None:
    windows, _ = opened(0.0)
    assert windows.next_s() == inf


def test_value_falls_as_the_window_passes() -> None:
    windows, view = opened(0.1)
    windows.turn_over(101.0)
    values = [windows.value(view, F, at_s) for at_s in (101.0, 110.0, 120.0, 200.0)]
    assert values == sorted(values, reverse=True)
    assert 0.0 < values[0] < 2.0
    assert values[-1] == 0.0


def test_a_late_look_opens_and_closes_at_once() -> None:
    windows, _ = opened(0.1)
    windows.turn_over(10_000.0)
    assert (list(windows.opened), list(windows.closed)) == ([], [F])


def test_forgotten_functions_leave_nothing_that_fires() -> None:
    windows, _ = opened(0.1)
    windows.closed[F] = None
    windows.forget(F)
    assert windows.next_s() == inf
    windows.turn_over(10_000.0)
    assert not windows.closed
