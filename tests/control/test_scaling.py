"""How many workers a function has, how long, and how near an operator holds it to an answer."""

from __future__ import annotations

import pytest

from glowplug.core.commands import Climb
from glowplug.core.events import ClimbRequested, DescendRequested, ScaleRequested
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from tests.control.world import World, kinds, spec

F = FunctionId("f.default")


@pytest.fixture
def world() -> World:
    return World()


def test_min_workers_are_kept_parked_and_primed(world: World) -> None:
    world.deploy(spec(min_workers=2, max_workers=2, prewarm="none"))
    world.engine.answer_all()
    climbs = [c for c in world.commands if isinstance(c, Climb) and c.target.kind == "instance"]
    assert [c.prime for c in climbs] == [True, True]
    world.engine.exit(climbs[0].target)
    world.engine.answer_all()
    assert len(world.state.context.store.instances) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_die_as_soon_as_they_are_parked_are_forked_later_and_later(
    world: World, workers: int
) -> None:
    world.deploy(spec(min_workers=workers, max_workers=workers))
    assert 2 < deaths(world, 120) < 20
    world.answer(world.ask())
    world.advance(1.0)
    world.engine.answer_all()
    assert len(world.state.context.store.instances) == workers, "what has answered shows that others can"


def test_a_deploy_does_not_wait_for_the_pause_of_the_version_before(world: World) -> None:
    world.deploy(spec(min_workers=1))
    deaths(world, 120)
    assert not world.state.context.store.instances
    world.deploy(spec(version="2", min_workers=1))
    world.engine.answer_all()
    assert len(world.state.context.store.instances) == 1


def test_a_worker_that_stood_for_long_is_replaced_at_once(world: World) -> None:
    world.deploy(spec(min_workers=1))
    for _ in range(5):
        world.engine.answer_all()
        world.advance(100.0)
        assert deaths(world, 0) == 1


def test_a_worker_more_that_cannot_climb_is_not_tried_without_end_while_requests_wait(world: World) -> None:
    world.deploy(spec(max_workers=2))
    for _ in range(8):
        world.ask()
    while not world.gateway.running:
        world.engine.succeed(next(iter(world.engine.pending)))
    world.engine.succeed(next(n for n, c in world.engine.pending.items() if isinstance(c, Climb)))
    assert failures(world) == 2, "one that a request was sent to, and one for all that wait"
    assert len(world.gateway.waiting) > 1
    world.advance(1.0)
    assert 1 <= failures(world) <= 13, "each request has two chances"


def failures(world: World) -> int:
    """How many climbs fail, one after another in no time, until none is left."""
    for count in range(100):
        if not world.engine.pending:
            return count
        world.engine.fail(next(iter(world.engine.pending)))
    return 100


def test_a_zygote_that_does_not_stand_is_not_asked_for_without_end(world: World) -> None:
    world.parked(spec())
    request = world.ask()
    world.post(ClimbRequested(F, Step.STAGED))
    climbs = 0
    while world.engine.pending and climbs < 100:
        world.engine.succeed(next(iter(world.engine.pending)))
        for target in [target for target in world.engine.up if target.kind == "version"]:
            world.engine.exit(target)
        climbs += 1
    assert climbs < 10
    world.answer(request)


def deaths(world: World, seconds: int) -> int:
    """As many as there are in that time, when each worker dies where it is parked."""
    count = 0
    for _ in range(seconds + 1):
        world.engine.answer_all()
        for target in [target for target in world.engine.up if target.kind == "instance"]:
            world.engine.exit(target)
            count += 1
        world.advance(1.0 if seconds else 0.0)
    return count


def test_scaling_up_and_down(world: World) -> None:
    world.deploy(spec())
    world.post(ScaleRequested(F, 3))
    world.engine.answer_all()
    assert len(world.state.context.store.instances) == 3
    world.post(ScaleRequested(F, 0))
    world.engine.answer_all()
    assert len(world.state.context.store.instances) == 0
    world.answer(world.ask())
    assert world.standing() == Step.PARKED


@pytest.mark.parametrize("runs", [False, True])
def test_scaling_down_does_not_depend_on_when_a_gateway_reported(world: World, runs: bool) -> None:
    """Its last report says that a request runs: if it still does, it is answered first."""
    world.parked(spec())
    request = world.ask()
    world.gateway.report()
    if not runs:
        world.gateway.finish(request)
    world.post(ScaleRequested(F, 0))
    assert kinds(world.commands)[-1] == ("revoke" if runs else "descend instance")
    if runs:
        world.gateway.finish(request)
    assert kinds(world.commands)[-1] == "descend instance"
    assert world.outcome(request) == "done"


def test_prewarm_none_lets_an_instance_go_at_once(world: World) -> None:
    world.parked(spec(prewarm="none"))
    assert kinds(world.commands)[-1] == "descend instance"


def test_prewarm_fixed_lets_it_go_after_its_time(world: World) -> None:
    world.parked(spec(keep_warm_s=10.0))
    world.advance(9.0)
    assert world.standing() == Step.PARKED
    world.advance(2.0)
    world.engine.answer_all()
    assert world.standing() == Step.IMPORTED


@pytest.mark.parametrize("step", [Step.LOCAL, Step.IMPORTED, Step.STAGED, Step.PARKED])
@pytest.mark.parametrize("start", ["nothing", "parked"])
def test_an_operator_gets_exactly_the_step_asked_for(step: Step, start: str) -> None:
    world = World(ControlSettings(environment_estimate_bytes=1000, reserve_margin_bytes=10))
    if start == "parked":
        world.parked(spec())
    else:
        world.deploy(spec())
    world.engine.answer_all()
    world.post((ClimbRequested if start == "nothing" else DescendRequested)(F, step))
    world.engine.answer_all()
    assert world.standing() == step
    world.advance(5.0)
    world.engine.answer_all()
    assert world.standing() == step, "it stays there"
    world.answer(world.ask())
    assert world.standing() == Step.PARKED
