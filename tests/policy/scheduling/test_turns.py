from __future__ import annotations

import pytest

from glowplug.control.fleet.schedule import fleet_view
from glowplug.policy.scheduling.turns import filled_s, is_overloaded, most_copies, turns_before
from glowplug.sim.fleets import Fleet, FleetSettings, build
from glowplug.sim.gateway import Ask
from glowplug.sim.models import ModelProfile
from glowplug.sim.workloads.registry import make_trace

MODEL = ModelProfile("m", 10**9, 2.0, 1.0)


def asked(rate_per_min: int, functions: int = 2) -> Fleet:
    """Ten devices and two functions, asked for by Zipf's law for two minutes."""
    fleet = build(FleetSettings(devices=10), [MODEL], functions)
    fleet.simulation.run(fleet.opening, 0.0)
    trace = make_trace(f"zipf:functions={functions},s=1.0,rate_per_min={rate_per_min},minutes=2", 0)
    fleet.simulation.run(list(fleet.asks(trace)), 120.0)
    return fleet


def test_a_long_queue_of_who_was_served_more_comes_after_newcomers() -> None:
    assert turns_before(1.5, ahead=False) == turns_before(1.5, ahead=True) == 1.5
    assert turns_before(100, ahead=False) == 2
    assert turns_before(100, ahead=True) == 0


def test_the_last_run_begins_when_the_devices_are_filled_up() -> None:
    assert filled_s([3.0], 1, 1.0) == 3.0
    assert filled_s([0.0, 10.0], 3, 1.0) == 2.0
    assert filled_s([1.0, 0.0], 4, 1.0) == pytest.approx(1.5)


@pytest.mark.parametrize("rate_per_min", [300, 900])
def test_under_overload_alone_devices_stay_without_a_function(rate_per_min: int) -> None:
    fleet = asked(rate_per_min)
    view, hot = fleet_view(fleet.simulation.state.context), fleet.functions[0]
    most = most_copies(view, hot, fleet.functions)
    # Of 15 devices' work the other asks for about five.
    assert most == 10 if rate_per_min == 300 else 6 <= most <= 8
    assert most_copies(view, hot, [hot]) == 10


@pytest.mark.parametrize(("functions", "overloaded"), [(2, True), (5, False)])
def test_some_wait_and_that_is_overload_where_one_function_asks_for_most(
    functions: int, overloaded: bool
) -> None:
    """Of two the first asks for two thirds, of five for less than half; three wait for each device."""
    fleet = asked(560, functions)
    at_s = fleet.simulation.agenda.now_s
    fleet.simulation.run([(at_s, Ask(each, 1e6)) for each in fleet.functions] * (30 // functions), at_s)
    view = fleet_view(fleet.simulation.state.context)
    assert 20 < sum(view.waiting_by_function.values()) < 80
    assert is_overloaded(view, fleet.functions) is overloaded


def test_overload_is_told_by_what_waits_whoever_asked_for_it() -> None:
    """Of ten devices: half of them asked for, and one and a half times as many."""
    for rate_per_min, overloaded in ((300, False), (900, True)):
        fleet = asked(rate_per_min)
        view = fleet_view(fleet.simulation.state.context)
        assert is_overloaded(view, fleet.functions) is overloaded
        at_s = fleet.simulation.agenda.now_s
        fleet.simulation.run([(at_s, Ask(fleet.functions[1], 1e6))] * 120, at_s + 0.1)
        assert is_overloaded(view, [])
