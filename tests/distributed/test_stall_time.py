"""How long silence lasts before something is asked for again, by the pace of a run."""

from __future__ import annotations

import pytest

from glowplug.distributed.stall_time import SILENT, StallTime
from glowplug.distributed.timing import Timing


def after(*gaps_s: float, first_s: float = 1.0, floor_s: float = 0.01, most_s: float = 8.0) -> float:
    """Layers one after another, so far apart."""
    stall, now_s = StallTime(first_s, floor_s, most_s), 0.0
    stall.came(now_s)
    for gap_s in gaps_s:
        now_s += gap_s
        stall.came(now_s)
    return stall.seconds


def test_until_two_layers_came_it_is_as_told() -> None:
    assert after() == 1.0


def test_it_is_a_multiple_of_what_a_layer_typically_takes() -> None:
    assert after(*[0.02] * 5) == pytest.approx(SILENT * 0.02)


def test_disturbed_layers_do_not_change_it() -> None:
    assert after(*[0.02, 0.5] * 7, 0.02) == pytest.approx(SILENT * 0.02)


def test_it_follows_a_run_that_becomes_slower() -> None:
    assert after(*[0.02] * 50, *[0.2] * 8) == pytest.approx(SILENT * 0.2)


def test_one_looks_after_what_the_quicker_layers_take() -> None:
    stall, now_s = StallTime(1.0, 0.01, 8.0), 0.0
    assert stall.quiet_s == pytest.approx(1 / SILENT)
    for gap_s in [0.1, 0.1, 0.02, 0.1] * 5:
        stall.came(now_s)
        now_s += gap_s
    assert stall.seconds == pytest.approx(SILENT * 0.1)
    assert stall.quiet_s == pytest.approx(0.02)


def test_it_keeps_between_its_ends() -> None:
    assert after(*[0.0001] * 9) == 0.01
    assert after(*[100.0] * 9) == 8.0


def timing(clock: list[float]) -> Timing:
    found = Timing(1.0, 0.01, 1000.0, clock=lambda: clock[0])
    for _ in range(9):
        found.begin(for_step=True)
        clock[0] += 0.02
        found.end()
    return found


def test_a_wait_for_a_step_is_quiet_after_a_layer_and_stalled_after_more() -> None:
    clock = [0.0]
    found = timing(clock)
    found.begin(for_step=True)
    assert (found.is_quiet(), found.look_s()) == (False, pytest.approx(0.02))
    clock[0] += 0.025
    assert (found.is_quiet(), found.is_stalled()) == (True, False)
    clock[0] += 0.04
    assert found.is_stalled()
    assert not found.is_stalled(), "the next time comes later"
    found.heard()
    assert (found.is_quiet(), found.stalls) == (True, 0), "what is missing is as late as before"
    found.begin(for_step=True)
    assert not found.is_quiet()


def test_other_waits_do_not_go_by_the_pace_of_layers() -> None:
    clock = [0.0]
    found = timing(clock)
    found.begin(for_step=False)
    clock[0] += 0.9
    assert not found.is_stalled()
    found.end()
    assert found.longest_look_s == pytest.approx(SILENT * 0.02), "nor do they teach it"
