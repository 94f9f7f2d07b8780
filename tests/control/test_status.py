from __future__ import annotations

from glowplug.control.loads import function_loads
from glowplug.control.status import function_status, function_statuses, node_statuses
from glowplug.core.commands import Build
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from tests.control.world import FACTS, World, spec


def test_a_function_is_shown_as_it_stands() -> None:
    world = World()
    world.parked(spec())
    status = function_status(world.state, FunctionId("f.default"))
    assert status is not None
    assert (status.name, status.namespace, status.state, status.step) == ("f", "default", "ready", "parked")
    assert (status.availableReplicas, status.invocationCount) == (1, 1)
    assert status.held_bytes == 200 + FACTS.weight_bytes
    assert [i.step for i in status.instances] == ["parked"]


def test_how_a_function_scales_is_shown() -> None:
    world = World()
    world.deploy(spec(priority="batch", min_workers=1, max_workers=3, target_concurrency=4))
    status = function_status(world.state, FunctionId("f.default"))
    assert status is not None
    assert (status.priority, status.min_workers, status.max_workers) == ("batch", 1, 3)
    assert status.target_concurrency == 4


def test_states_of_a_function() -> None:
    world = World()
    world.deploy(spec("building"), built=False)
    world.deploy(spec("ready"))
    world.deploy(spec("failed", memory_bytes=10**9), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    world.engine.succeed(next(iter(world.engine.pending)))
    states = {s.name: s.state for s in function_statuses(world.state)}
    assert states == {"building": "ready", "ready": "ready", "failed": "failed"}
    assert function_status(world.state, FunctionId("none.default")) is None


def test_a_node_is_shown_with_what_is_reserved() -> None:
    world = World(budget_bytes=5000)
    world.deploy(spec())
    world.ask()
    (node,) = node_statuses(world.state)
    assert (node.budget_bytes, node.reserved_bytes) == (5000, 1000)


def test_what_a_function_holds_is_counted_by_step() -> None:
    world = World()
    world.parked(spec())
    world.deploy(spec("idle"))
    load, idle = function_loads(world.state)
    assert (load.function, load.state, load.step) == ("f.default", "ready", "parked")
    assert (load.parked, load.busy, load.climbing, load.queued) == (1, 0, 0, 0)
    status = function_status(world.state, FunctionId("f.default"))
    assert status is not None
    assert load.worker_bytes + load.staged_bytes + load.weight_bytes == status.held_bytes
    assert load.weight_bytes == FACTS.weight_bytes
    assert (idle.step, idle.worker_bytes) == ("imported", 0)
    (node,) = node_statuses(world.state)
    assert node.environment_bytes == node.reserved_bytes - status.held_bytes > 0


def test_a_worker_that_climbs_is_counted_as_such() -> None:
    world = World()
    world.deploy(spec())
    world.ask()
    (load,) = function_loads(world.state)
    assert load.parked == load.busy == 0
    assert load.queued + load.climbing >= 1


def noted(world: World, name: str = "f") -> str:
    status = function_status(world.state, FunctionId(f"{name}.default"))
    assert status is not None
    return status.error


def failing() -> World:
    """Its worker is wanted, and the first one's climb failed."""
    world = World()
    world.deploy(spec(min_workers=1))
    world.engine.succeed(next(iter(world.engine.pending)))
    world.engine.fail(next(iter(world.engine.pending)), "unavailable", "no process")
    assert noted(world) == "no process"
    return world


def test_an_answer_clears_what_was_noted_of_a_failure() -> None:
    world = failing()
    request = world.ask()
    world.answer(request)
    assert world.outcome(request) == "done"
    assert noted(world) == ""


def test_a_climb_that_succeeds_does_too_and_a_later_failure_is_noted_again() -> None:
    world = failing()
    world.advance(2.0)
    world.engine.answer_all()
    assert world.standing() == Step.PARKED
    assert noted(world) == ""
    world.engine.exit(next(target for target in world.engine.up if target.kind == "instance"), "it fell")
    assert noted(world) == "it fell"


def test_what_a_deploy_failed_of_stays_until_the_next_and_is_not_hidden() -> None:
    world = World()
    world.parked(spec())
    world.deploy(spec(version="2"), built=False)
    (build,) = [c for c in world.engine.pending.values() if isinstance(c, Build)]
    world.engine.fail(build.id, "build_failed", "no such module", permanent=True)
    assert noted(world) == "no such module"
    request = world.ask()
    world.answer(request)
    assert world.outcome(request) == "done"
    assert noted(world) == "no such module", (
        "the version before answers, and the deploy has failed all the same"
    )
    world.deploy(spec(version="3"))
    assert noted(world) == ""
