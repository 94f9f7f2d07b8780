"""A pre-warm policy wants a worker where memory is short: it has one as soon as there is room, or no more."""

from __future__ import annotations

import pytest

from glowplug.control.state import ControlState
from glowplug.core.commands import SetTimer
from glowplug.core.events import ClimbRequested, LeaseReport, Undeployed
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from tests.control.ahead import climbs, serve, settings
from tests.control.world import World, spec

GAP_S, HEAD_S, TAIL_S = 630.0, 540.0, 726.0
"""Calls so far apart are in the eleventh bin: from when and until when a worker is to be there."""
TIMER = FunctionId("timer.default")


def full_world() -> World:
    """A node with room for one worker. `timer` was called twice, and then `other`, whose worker stays."""
    given = settings("none", prewarm="histogram", environment_estimate_bytes=100)
    world = World(given, budget_bytes=1500)
    world.deploy(spec("timer"), spec("other"))
    serve(world, "timer")
    world.advance(GAP_S)
    serve(world, "timer")
    world.engine.answer_all()
    serve(world, "other")
    assert world.standing("timer") < Step.PARKED
    assert world.standing("other") == Step.PARKED
    return world


def wanted(world: World) -> float:
    return world.state.functions[TIMER].warm_until_s


def test_a_worker_stands_once_what_was_evicted_for_it_is_gone() -> None:
    world = full_world()
    before = len(climbs(world, "timer"))
    world.advance(HEAD_S)
    assert len(climbs(world, "timer")) == before
    assert wanted(world) == pytest.approx(world.clock.now_s - HEAD_S + TAIL_S)
    world.engine.answer_all()
    assert world.standing("timer") == Step.PARKED
    assert world.standing("other") < Step.PARKED
    assert not wanted(world)
    world.advance(TAIL_S - HEAD_S + 1.0)
    world.engine.answer_all()
    assert world.standing("timer") < Step.PARKED


def test_it_waits_for_memory_that_others_use_as_long_as_it_would_be_kept() -> None:
    for late_s, stands in ((0.0, True), (TAIL_S, False)):
        world = full_world()
        request = world.ask("other")
        world.advance(HEAD_S)
        assert wanted(world)
        world.advance(late_s)
        before = len(climbs(world, "timer"))
        world.gateway.finish(request)
        world.advance(10.0)
        world.engine.answer_all()
        world.advance(10.0)
        world.engine.answer_all()
        assert (len(climbs(world, "timer")) > before) is stands
        assert (world.standing("timer") == Step.PARKED) is stands
        assert not wanted(world)


@pytest.mark.parametrize("how", ["call", "redeploy", "undeploy", "down"])
def test_it_is_wanted_no_more_once_it_is_called_or_changed(how: str) -> None:
    world = full_world()
    busy = world.ask("other")
    world.advance(HEAD_S)
    assert wanted(world)
    before = len(climbs(world, "timer"))
    if how == "call":
        request = world.ask("timer")
    elif how == "redeploy":
        world.deploy(spec("timer", "2"))
    elif how == "undeploy":
        world.post(Undeployed(TIMER))
    else:
        world.post(ClimbRequested(TIMER, Step.LOCAL))
    assert TIMER not in world.state.functions or not wanted(world)
    world.gateway.finish(busy)
    world.advance(10.0)
    world.engine.answer_all()
    assert len(climbs(world, "timer")) - before == (how == "call")
    if how == "call":
        world.gateway.finish(request)
        assert world.outcome(request) == "done"


def test_a_snapshot_keeps_what_is_wanted() -> None:
    world = full_world()
    world.advance(HEAD_S)
    assert wanted(world)
    restored = ControlState.from_snapshot(world.state.snapshot())
    assert restored.snapshot() == world.state.snapshot()
    world.state = restored
    world.engine.answer_all()
    assert world.standing("timer") == Step.PARKED


def test_what_is_kept_long_goes_sooner_once_calls_tell_when() -> None:
    """After the first call it would stay for four hours, after the second until shortly after the third."""
    world = World(settings("none", prewarm="histogram"))
    world.deploy(spec("often"))
    start_s = world.clock.now_s
    serve(world, "often")
    world.advance(5.0)
    serve(world, "often")
    assert [c.at_s for c in world.commands if isinstance(c, SetTimer) and c.key.startswith("keep")] == [
        pytest.approx(start_s + 4 * 3600.0),
        pytest.approx(start_s + 5.0 + 66.0),
    ]
    world.advance(70.0)
    world.engine.answer_all()
    assert world.standing("often") < Step.PARKED


@pytest.mark.parametrize("lends", [False, True])
def test_calls_under_a_lease_tell_when_as_well(lends: bool) -> None:
    world = World(settings("none", prewarm="histogram", lends=lends))
    world.deploy(spec("often"))
    serve(world, "often")
    for _ in range(5):
        world.advance(10.0)
        serve(world, "often")
    reported = [event for _, event in world.events if isinstance(event, LeaseReport)]
    assert sum(report.done for report in reported) == (5 if lends else 0)
    for silent_s in (40.0, 25.0):
        world.advance(silent_s)
        world.gateway.report()
        assert world.standing("often") == Step.PARKED
    world.advance(5.0)
    world.engine.answer_all()
    assert world.standing("often") < Step.PARKED


def test_a_worker_is_there_again_when_the_next_call_under_a_lease_is_due() -> None:
    """Two calls to a worker that is kept, one at a time under its lease, and silence from then on."""
    world = World(settings("none", prewarm="histogram", lends=True, lease_s=2 * GAP_S))
    world.deploy(spec("timer"))
    serve(world, "timer")
    world.advance(GAP_S)
    serve(world, "timer")
    assert isinstance(world.events[-1][1], LeaseReport)
    assert world.timers[f"prewarm:{TIMER}"] == pytest.approx(world.clock.now_s + HEAD_S)
