"""Climbs that hang: what was loaded ahead keeps no request waiting, and slow ones are not ended for ever."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from glowplug.core.commands import Climb, Descend
from glowplug.core.events import Deployed
from glowplug.core.ids import FunctionId, RequestId, VersionId
from glowplug.core.priority import Priority
from glowplug.core.specs import PartFacts
from tests.control.ahead import climbs, settings
from tests.control.world import FACTS, World, spec

AHEAD = FunctionId("ahead.default")
USUAL_S = 0.01
TIMEOUT_S = 15.0


def let_go(world: World) -> None:
    """All that is pending goes well, but for climbs of workers."""
    for number, command in list(world.engine.pending.items()):
        hangs = isinstance(command, Climb) and command.target.kind in ("instance", "part")
        if not hangs and number in world.engine.pending:
            world.engine.succeed(number)


def hung(usual_s: float | None = USUAL_S, **changed: Any) -> tuple[World, Climb]:
    """A function's worker climbs ahead, and does not come."""
    world = World(settings("none", substrate="zygote"), budget_bytes=10_000)
    world.deploy(spec("ahead", preload="always", **changed))
    if usual_s is not None:
        world.state.context.policies.costs.learn("ahead-v1", "imported", usual_s)
    let_go(world)
    (climb,) = climbs(world, "ahead")
    return world, climb


def latest(world: World) -> Climb:
    return climbs(world, "ahead")[-1]


def is_given_up(world: World, climb: Climb) -> bool:
    return any(isinstance(c, Descend) and c.target == climb.target for c in world.commands)


def answered_by(world: World, request: RequestId, climb: Climb) -> str | None:
    """What becomes of it when that climb succeeds."""
    world.engine.succeed(climb.id)
    if request in world.gateway.running:
        world.gateway.finish(request)
    return world.outcome(request)


@pytest.mark.parametrize("most", [1, 4])
def test_a_pre_load_that_hangs_is_given_up_when_a_request_needs_a_worker(most: int) -> None:
    world, climb = hung(max_workers=most)
    world.advance(40.0)
    assert not is_given_up(world, climb), "nobody needs it so far"
    request = world.ask("ahead", TIMEOUT_S)
    assert is_given_up(world, climb)
    again = latest(world)
    assert again is not climb
    names = [c for c in world.commands if c is again or (isinstance(c, Descend) and c.target == climb.target)]
    assert names.index(again) == 1, "the one has to end before the other begins"
    assert answered_by(world, request, again) == "done"
    preloads = world.state.context.store.preloads
    assert (preloads.failed, preloads.used) == (1, 0)
    assert preloads.paused_until(AHEAD) > world.clock.now_s


@pytest.mark.parametrize("most", [1, 4])
def test_requests_that_were_bound_to_it_go_elsewhere_in_time(most: int) -> None:
    world, climb = hung(max_workers=most)
    world.advance(1.0)
    requests = [world.ask("ahead", TIMEOUT_S) for _ in range(3)]
    assert not is_given_up(world, climb), "it may come yet"
    world.advance(8.0)
    let_go(world)
    assert is_given_up(world, climb)
    for _ in requests:
        world.engine.answer_all()
        for request in list(world.gateway.running):
            world.gateway.finish(request)
    assert [world.outcome(request) for request in requests] == ["done"] * 3
    preloads = world.state.context.store.preloads
    assert (preloads.failed, preloads.used, preloads.wasted) == (1, 0, 1)
    assert preloads.paused_until(AHEAD) > world.clock.now_s


def test_it_is_loaded_ahead_again_later_and_later() -> None:
    """Each hangs; requests come all the time, and what they climb themselves is there at once, and goes."""
    world, _ = hung(keep_warm_s=0.5)
    begun = []
    for _ in range(60):
        world.advance(30.0)
        request = world.ask("ahead", TIMEOUT_S)
        if latest(world).priority == Priority.BACKGROUND:
            world.advance(6.0)
            let_go(world)
        again = latest(world)
        assert again.priority != Priority.BACKGROUND
        assert answered_by(world, request, again) == "done"
        world.engine.exit(again.target)
        let_go(world)
        begun.append(world.state.context.store.preloads.started)
    assert world.state.context.store.preloads.failed >= 4
    times = [n for n, (before, after) in enumerate(pairwise(begun)) if after > before]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 4 * gaps[0]


def test_one_that_stands_back_has_more_time_until_a_request_waits_for_it() -> None:
    """Usually 1 s: behind what is busy it may take far longer, and hurried no more than ten times that."""
    world, climb = hung(1.0)
    world.advance(30.0)
    request = world.ask("ahead", 60.0)
    world.advance(9.0)
    assert not is_given_up(world, climb)
    assert answered_by(world, request, climb) == "done"
    assert world.state.context.store.preloads.failed == 0


def test_a_first_climb_may_be_slow() -> None:
    world, climb = hung(None)
    world.advance(25.0)
    request = world.ask("ahead", 60.0)
    world.advance(25.0)
    assert not is_given_up(world, climb)
    assert answered_by(world, request, climb) == "done"


def test_a_first_climb_that_hangs_is_given_up_all_the_same() -> None:
    world, climb = hung(None)
    world.ask("ahead", TIMEOUT_S)
    world.advance(25.0)
    request = world.ask("ahead", TIMEOUT_S)
    world.advance(6.0)
    let_go(world)
    assert is_given_up(world, climb)
    assert answered_by(world, request, latest(world)) == "done"


def test_weights_that_have_to_be_read_give_a_climb_more_time() -> None:
    facts = msgspec.structs.replace(FACTS, weight_bytes=2 * 10**9)
    world = World(settings("none", substrate="zygote"), budget_bytes=10**10)
    world.post(Deployed(spec("ahead", preload="always"), facts))
    world.state.context.policies.costs.learn("ahead-v1", "imported", USUAL_S)
    let_go(world)
    (climb,) = climbs(world, "ahead")
    request = world.ask("ahead", 60.0)
    world.advance(19.0)
    assert not is_given_up(world, climb)
    world.advance(5.0)
    assert is_given_up(world, climb)
    let_go(world)
    assert answered_by(world, request, latest(world)) == "done"


def test_what_a_request_climbs_is_not_given_up_while_it_waits_and_others_go_elsewhere() -> None:
    world = World(settings("none", substrate="zygote"), budget_bytes=10_000)
    world.deploy(spec("ahead", max_workers=2))
    world.state.context.policies.costs.learn("ahead-v1", "imported", USUAL_S)
    first = world.ask("ahead", 60.0)
    let_go(world)
    world.state.context.policies.costs.learn("ahead-v1", "run", 0.001)
    world.advance(1.0)
    second = world.ask("ahead", 60.0)
    (climb,) = climbs(world, "ahead")
    assert world.outcome(second) is None
    world.advance(6.0)
    assert not is_given_up(world, climb), "the first request may need all that time"
    assert len(climbs(world, "ahead")) == 2, "nothing is expected of a climb that is overdue"
    assert answered_by(world, second, latest(world)) == "done"
    assert answered_by(world, first, climb) == "done"


def test_who_waits_in_a_climb_goes_to_a_worker_that_stands() -> None:
    """Four requests came at once and wait in one climb; a fifth gets a worker of its own."""
    world = World(settings("none", substrate="zygote"), budget_bytes=10_000)
    world.deploy(spec("ahead", max_workers=2, target_concurrency=8))
    world.state.context.policies.costs.learn("ahead-v1", "imported", USUAL_S)
    waiting = [world.ask("ahead", 110.0) for _ in range(4)]
    let_go(world)
    (climb,) = climbs(world, "ahead")
    world.advance(8.0)
    assert not is_given_up(world, climb), "no other worker stands"
    fifth = world.ask("ahead", 60.0)
    assert answered_by(world, fifth, latest(world)) == "done"
    world.advance(8.0)
    assert is_given_up(world, climb)
    for _ in range(4):
        let_go(world)
        for request in list(world.gateway.running):
            world.gateway.finish(request)
    assert [world.outcome(request) for request in waiting] == ["done"] * 4


def test_a_worker_that_is_kept_and_hangs_is_given_up_too() -> None:
    """Nobody asked for it, and it was not loaded ahead by a policy either."""
    world = World(settings("none", substrate="zygote"), budget_bytes=10_000)
    world.deploy(spec("ahead", min_workers=1, max_workers=4))
    world.state.context.policies.costs.learn("ahead-v1", "imported", USUAL_S)
    let_go(world)
    (climb,) = climbs(world, "ahead")
    world.advance(1.0)
    request = world.ask("ahead", 110.0)
    world.advance(8.0)
    let_go(world)
    assert is_given_up(world, climb)
    assert answered_by(world, request, latest(world)) == "done"


def test_what_a_request_climbed_is_given_up_once_nobody_waits_for_it() -> None:
    world = World(settings("none", substrate="zygote"), budget_bytes=10_000)
    world.deploy(spec("ahead", max_workers=1))
    world.state.context.policies.costs.learn("ahead-v1", "imported", USUAL_S)
    first = world.ask("ahead", TIMEOUT_S)
    let_go(world)
    (climb,) = climbs(world, "ahead")
    world.advance(10.0)
    second = world.ask("ahead", TIMEOUT_S)
    assert not is_given_up(world, climb)
    world.advance(TIMEOUT_S - 9.0)
    assert world.outcome(first) == "deadline_passed"
    assert is_given_up(world, climb), "the second waits in the queue"
    assert answered_by(world, second, latest(world)) == "done"
    assert world.state.context.store.functions[AHEAD].misses == 0


def test_a_wrong_estimate_does_not_end_all_climbs_for_ever() -> None:
    """Each climb takes 100 s, and is thought to take 10 ms; who asks waits no longer than 8 s."""
    world, _ = hung()
    began_s: dict[int, float] = {}
    function = world.state.context.store.functions[AHEAD]
    while not function.done and world.clock.now_s < 3000.0:
        request = world.ask("ahead", 8.0)
        for _ in range(10):
            world.advance(1.0)
            for number, command in list(world.engine.pending.items()):
                takes_s = 100.0 if isinstance(command, Climb) and command.target.kind == "instance" else 0.0
                if world.clock.now_s >= began_s.setdefault(number, world.clock.now_s) + takes_s:
                    world.engine.succeed(number)
            instance = world.gateway.running.get(request)
            if instance is not None and str(instance) in {target.key for target in world.engine.up}:
                world.gateway.finish(request)
    assert function.done, "one was left to arrive"
    assert len(climbs(world, "ahead")) <= 8
    assert world.clock.now_s < 1000.0 + 500.0
    assert world.state.context.store.versions[VersionId("ahead-v1")].given_up == 0


def test_a_gang_goes_as_one() -> None:
    facts = msgspec.structs.replace(FACTS, parts=(PartFacts("part", 100),))
    world = World(settings("none", substrate="zygote"), budget_bytes=10_000)
    world.post(Deployed(spec("ahead", preload="always", workers=2), facts))
    world.state.context.policies.costs.learn("ahead-v1", "imported", USUAL_S)
    let_go(world)
    before = [c for c in world.commands if isinstance(c, Climb) and c.target.kind in ("instance", "part")]
    assert len(before) == 2
    world.advance(40.0)
    request = world.ask("ahead", TIMEOUT_S)
    assert all(is_given_up(world, climb) for climb in before)
    while world.engine.pending:
        world.engine.answer_all()
    world.gateway.finish(request)
    assert world.outcome(request) == "done"
