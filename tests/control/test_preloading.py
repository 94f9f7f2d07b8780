"""What is loaded ahead, by whose wish, for how long, and what becomes of it when somebody needs the room."""

from __future__ import annotations

from glowplug.control.status import function_statuses
from glowplug.core.commands import Climb, Descend, Dispatch
from glowplug.core.events import PressureChanged, Undeployed
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from tests.control.ahead import PERIOD_S, call_regularly, climbs, ladder, preloading_world, serve, settings
from tests.control.world import NODE, World, spec


def test_ladder_climbs_before_the_next_call_and_in_the_background() -> None:
    world = World(ladder())
    world.deploy(spec("timer", prewarm="none"))
    call_regularly(world, "timer", 6)
    world.engine.answer_all()
    ahead = [climb for climb in climbs(world, "timer") if climb.priority == Priority.BACKGROUND]
    assert ahead, "nothing was loaded ahead"
    assert all(climb.prime for climb in ahead)
    assert world.standing("timer") == Step.PARKED
    before = len(climbs(world, "timer"))
    request = world.ask("timer")
    assert request in world.gateway.running
    assert len(climbs(world, "timer")) == before


def test_always_needs_no_call_and_no_policy() -> None:
    world = preloading_world()
    world.engine.answer_all()
    assert world.standing("ahead") == Step.PARKED
    assert world.state.context.store.preloads.started == 1


def test_never_is_heeded() -> None:
    world = World(ladder())
    world.deploy(spec("timer", prewarm="none", preload="never"))
    call_regularly(world, "timer", 6)
    assert world.state.context.store.preloads.started == 0


def test_a_function_that_is_undeployed_is_looked_at_no_more_while_it_goes() -> None:
    """A worker still answers when its function is due to be looked at."""
    world = World(ladder())
    world.deploy(spec("timer"))
    call_regularly(world, "timer", 6)
    request = world.ask("timer")
    world.engine.answer_all()
    assert request in world.gateway.running
    world.post(Undeployed(FunctionId("timer.default")))
    world.advance(2 * PERIOD_S)
    world.gateway.finish(request)
    world.engine.answer_all()
    assert "timer.default" not in world.state.context.store.functions


def test_a_pre_load_makes_room_at_once_for_a_request_that_needs_it() -> None:
    world = preloading_world()
    world.engine.answer_all()
    used_bytes = world.state.context.store.ledger.used[NODE]
    world.post(PressureChanged(NODE, used_bytes + 100))
    world.deploy(spec("now"))
    before = len(world.commands)
    request = world.ask("now")
    assert any(isinstance(command, Descend) for command in world.commands[before:])
    world.answer(request)
    assert world.outcome(request) == "done"


def test_memory_lent_to_a_climb_that_nobody_waits_for_is_given_back_at_once() -> None:
    """It is not on offer while it climbs; a request need not wait until it has."""
    world = World(settings("none", substrate="zygote"), budget_bytes=2000)
    world.deploy(spec("lender", preload="always"))
    world.engine.succeed(next(iter(world.engine.pending)))  # its environment
    (ahead,) = climbs(world, "lender")
    world.post(PressureChanged(NODE, world.state.context.store.ledger.used[NODE] + 10))
    world.deploy(spec("owner"))
    before = len(world.commands)
    request = world.ask("owner")
    down = [c.target for c in world.commands[before:] if isinstance(c, Descend)]
    assert [target.kind for target in down] == ["instance", "weights"]
    assert down[0] == ahead.target
    world.answer(request)
    assert world.outcome(request) == "done"
    assert world.state.context.store.preloads.wasted == 1


def test_requests_take_a_climbing_pre_load_along() -> None:
    world = preloading_world()
    for number, command in list(world.engine.pending.items()):
        if isinstance(command, Climb) and command.target.kind == "environment":
            world.engine.succeed(number)
    request = world.ask("ahead")
    sent = [c for c in world.commands if isinstance(c, Dispatch)]
    assert [c.requests for c in sent] == [(request,)]
    assert len(climbs(world, "ahead")) == 1
    world.answer(request)
    assert world.outcome(request) == "done"


def test_kept_sets_no_timer_and_keeps() -> None:
    world = World(ladder(prewarm="kept"))
    world.parked(spec("f", keep_warm_s=1.0))
    world.advance(100_000.0)
    assert world.standing("f") == Step.PARKED
    assert not any(key.startswith("keep:") for key in world.timers)


def test_what_was_loaded_in_vain_goes_when_it_is_not_likely_any_more() -> None:
    world = World(ladder(preload_byte_price=1e-6))
    world.deploy(spec("timer", prewarm="none"))
    call_regularly(world, "timer", 6)
    world.engine.answer_all()
    preloads = world.state.context.store.preloads
    assert len(preloads.unused) == 1
    for _ in range(100):
        world.advance(PERIOD_S)
        world.engine.answer_all()
    assert not preloads.unused
    assert world.standing("timer") < Step.PARKED
    assert preloads.wasted >= 1
    assert [c for c in world.commands if isinstance(c, Descend) and c.why == "not needed after all"]


def test_what_is_always_to_be_there_is_not_dropped_as_not_needed() -> None:
    world = World(ladder(preload_byte_price=1e-6))
    world.deploy(spec("timer", prewarm="none", preload="always"))
    call_regularly(world, "timer", 6)
    world.engine.answer_all()
    world.engine.exit(climbs(world, "timer")[-1].target)
    for _ in range(100):
        world.engine.answer_all()
        world.advance(PERIOD_S)
    assert world.standing("timer") == Step.PARKED
    assert not [c for c in world.commands if isinstance(c, Descend) and c.why == "not needed after all"]


def test_a_pre_load_used_under_its_lease_goes_when_its_function_says() -> None:
    """Not only when the lease ends: until it was used, its time to go was the pre-load policy's to say."""
    world = World(ladder(lends=True))
    world.deploy(spec("timer", keep_warm_s=1.0, prewarm="fixed"))
    for _ in range(6):
        serve(world, "timer")
        world.advance(2.0)
        world.engine.answer_all()
        assert world.standing("timer") < Step.PARKED
        world.advance(PERIOD_S - 2.0)
        world.engine.answer_all()
    assert world.state.context.store.preloads.used >= 1


def test_what_is_pinned_stays_when_others_are_loaded_ahead_and_goes_for_a_request() -> None:
    world = World(ladder(), budget_bytes=1000 + 10 + 700 + 100)
    world.parked(spec("pinned", pin=True, prewarm="none"))
    world.advance(10_000.0)
    assert world.standing("pinned") == Step.PARKED
    world.deploy(spec("ahead", preload="always"))
    world.advance(100.0)
    assert world.standing("pinned") == Step.PARKED
    request = world.ask("ahead")
    world.engine.answer_all()
    world.answer(request)
    assert world.outcome(request) == "done"


def test_what_is_loaded_ahead_takes_the_room_of_a_worker_with_its_weights() -> None:
    """The worker alone is too small, and its weights are not on offer while it stands on them."""
    settings = ladder(prewarm="kept", environment_estimate_bytes=300)
    world = World(settings, budget_bytes=300 + 10 + 700 + 400)
    world.deploy(spec("ahead", prewarm="none"), spec("idle"))
    call_regularly(world, "ahead", 8)
    serve(world, "ahead")
    world.advance(0.5)
    serve(world, "idle")
    world.engine.answer_all()
    begun = len(climbs(world, "ahead"))
    for _ in range(9):
        world.advance(1.0)
        world.engine.answer_all()
    assert [each.priority for each in climbs(world, "ahead")[begun:]] == [Priority.BACKGROUND]
    assert world.standing("ahead") == Step.PARKED
    assert world.standing("idle") < Step.PARKED


def test_steps_say_where_what_is_held_and_what_was_loaded_ahead() -> None:
    world = preloading_world()
    world.engine.answer_all()
    (status,) = function_statuses(world.state)
    found = {each.step: each for each in status.held}
    assert set(found) == {"local", "parked"}
    assert (found["parked"].node, found["parked"].count, found["parked"].preloaded) == (NODE, 1, 1)
    assert found["local"].held_bytes == 500
    serve(world, "ahead")
    (status,) = function_statuses(world.state)
    assert [each.preloaded for each in status.held] == [0, 0]
