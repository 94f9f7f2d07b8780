"""What the end of something that was loaded ahead says of predictions, and what ends a pause."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from glowplug.control.preloading.usage import Usage
from glowplug.control.status import preload_status
from glowplug.core.commands import Climb, Target
from glowplug.core.events import DescendRequested, PressureChanged, ScaleRequested, Undeployed
from glowplug.core.ids import FunctionId, RequestId
from glowplug.core.ladder import Step
from tests.control.ahead import PERIOD_S, call_regularly, climbs, ladder, preloading_world, serve
from tests.control.world import NODE, World, spec

FUNCTION = FunctionId("timer.default")


def foreseen() -> World:
    """A worker stands there that was loaded because its function is about to be called."""
    world = World(ladder())
    world.deploy(spec("timer", prewarm="none"))
    call_regularly(world, "timer", 6)
    world.engine.answer_all()
    (unused,) = world.state.context.store.preloads.unused.values()
    assert unused.foreseen
    return world


def worker(world: World) -> Target:
    return climbs(world, "timer")[-1].target


ENDS: dict[str, Callable[[World], object]] = {
    "deployed again": lambda world: world.deploy(spec("timer", "2", prewarm="none")),
    "undeployed": lambda world: world.post(Undeployed(FUNCTION)),
    "scaled down": lambda world: world.post(ScaleRequested(FUNCTION, 0)),
    "sent down": lambda world: world.post(DescendRequested(FUNCTION, Step.LOCAL)),
    "died": lambda world: world.engine.exit(worker(world)),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_for_another_reason_than_that_nobody_came_says_nothing_of_predictions(end: str) -> None:
    world = foreseen()
    preloads = world.state.context.store.preloads
    before = preloads.usage_at(NODE).share, preloads.usage_at(NODE).wasted
    ENDS[end](world)
    world.engine.answer_all()
    assert not preloads.unused
    assert preloads.wasted == 1
    assert (preloads.usage_at(NODE).share, preloads.usage_at(NODE).wasted) == before


@pytest.mark.parametrize("end", ["evicted", "not needed"])
def test_what_ends_because_nobody_came_speaks_against_predictions(end: str) -> None:
    world = foreseen()
    preloads = world.state.context.store.preloads
    before = preloads.usage_at(NODE).share
    if end == "evicted":
        world.post(PressureChanged(NODE, world.state.context.store.ledger.used[NODE] - 1))
    else:
        world.state.context.settings = ladder(preload_byte_price=1.0)
        world.advance(100 * PERIOD_S)
    assert preloads.wasted == 1
    assert preloads.usage_at(NODE).share < before


def test_of_a_node_that_is_lost_nothing_is_remembered() -> None:
    world = foreseen()
    preloads = world.state.context.store.preloads
    assert NODE in preloads.usage
    assert NODE in preloads.allowances
    assert NODE in preloads.lines
    assert preloads.served_at == {FUNCTION: NODE}
    world.lose_node()
    left = (preloads.usage, preloads.allowances, preloads.lines, preloads.served_at)
    assert not any(left)


def failed_ahead() -> World:
    """Its environment is up, and its first load failed."""
    world = preloading_world()
    for number, command in list(world.engine.pending.items()):
        if isinstance(command, Climb) and command.target.kind == "environment":
            world.engine.succeed(number)
    (climb,) = climbs(world, "ahead")
    world.engine.fail(climb.id, "function_failed", "it raised", permanent=False)
    return world


def test_an_answer_of_a_worker_that_a_request_climbed_does_not_end_the_pause_of_loads_ahead() -> None:
    """What fails only when it is loaded ahead would else do so after every call."""
    world = failed_ahead()
    preloads, function = world.state.context.store.preloads, FunctionId("ahead.default")
    paused_until_s = preloads.paused_until(function)
    assert paused_until_s > world.clock.now_s
    serve(world, "ahead")
    assert preloads.paused_until(function) == paused_until_s
    world.engine.exit(climbs(world, "ahead")[-1].target)
    world.advance(paused_until_s - world.clock.now_s + 1.0)
    world.engine.answer_all()
    assert preloads.started == 2, "it is tried again"
    serve(world, "ahead")
    assert preloads.used == 1
    assert preloads.paused_until(function) == 0.0, "what was loaded ahead has answered"


def test_a_deploy_ends_the_pause() -> None:
    world = failed_ahead()
    world.deploy(spec("ahead", "2", preload="always"))
    assert world.state.context.store.preloads.paused_until(FunctionId("ahead.default")) == 0.0


def called_while_it_climbs() -> World:
    """It was foreseen, and still climbs when its request comes."""
    world = World(ladder())
    world.deploy(spec("timer", prewarm="none"))
    call_regularly(world, "timer", 6)
    assert world.state.context.store.preloads.unused
    assert preload_status(world.state).climbing == 1
    assert preload_status(world.state).unused == 0
    world.ask("timer", 60.0)
    return world


def test_a_pre_load_counts_as_used_when_a_request_runs_in_it() -> None:
    world = called_while_it_climbs()
    preloads = world.state.context.store.preloads
    used_before = preloads.used
    world.engine.answer_all()
    assert preloads.used == used_before + 1
    assert preloads.used_late >= 1
    assert preload_status(world.state).climbing == 0


def test_an_answer_may_be_told_before_the_climb_that_it_waited_for() -> None:
    world = called_while_it_climbs()
    preloads = world.state.context.store.preloads
    used = preloads.used
    world.gateway.finish(RequestId(world.asked))
    assert preloads.used == used + 1
    world.engine.answer_all()
    assert preloads.used == used + 1
    world.engine.exit(worker(world))
    assert preloads.failed == 0


@pytest.mark.parametrize("how", ["crashed", "hung", "raised"])
def test_a_pre_load_that_answered_nobody_is_not_used_and_says_nothing_of_predictions(how: str) -> None:
    world = called_while_it_climbs()
    preloads = world.state.context.store.preloads
    called = preloads.usage_at(NODE)
    used, trusted = preloads.used, called.used
    (climb,) = [c for c in world.engine.pending.values() if isinstance(c, Climb)]
    if how == "crashed":
        world.engine.exit(climb.target)
    elif how == "raised":
        world.engine.fail(climb.id, "function_failed", "it raised", permanent=True)
    else:
        world.advance(6.0)
    assert climb.id not in world.engine.pending
    assert (preloads.used, preloads.failed, preloads.wasted) == (used, 1, 1)
    assert called.used < trusted
    assert preloads.paused_until(FUNCTION) > world.clock.now_s


def test_one_whose_requests_all_gave_up_waits_for_its_first_use() -> None:
    world = called_while_it_climbs()
    preloads = world.state.context.store.preloads
    used = preloads.used
    world.gateway.cancel(RequestId(world.asked))
    world.engine.answer_all()
    assert preloads.used == used
    assert preload_status(world.state).unused == 1
    serve(world, "timer")
    assert preloads.used == used + 1


def test_what_was_counted_too_soon_is_taken_back() -> None:
    usage = Usage(share=0.6, used=5.0, wasted=3.0)
    usage.end(used=True)
    usage.take_back()
    assert (usage.share, usage.used, usage.wasted) == pytest.approx((0.6, 5.0, 3.0))
    for _ in range(100):
        usage.take_back()
    assert usage.share == usage.used == 0.0
