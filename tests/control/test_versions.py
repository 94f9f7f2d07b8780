"""Versions: built, made active, replaced, gone back to and forgotten; what fails on the way."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from glowplug.core.commands import Build, Climb, Descend, Target
from glowplug.core.events import NodeJoined, RollbackRequested, ScaleRequested, Undeployed
from glowplug.core.ids import FunctionId, NodeId, VersionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import NodeSpec
from tests.control.world import NODE, SETTINGS, World, kinds, spec

F = FunctionId("f.default")


@pytest.fixture
def world() -> World:
    return World()


def active(world: World) -> str | None:
    return world.state.functions[F].active


def test_a_deploy_builds_in_its_environment_and_then_serves_what_waited(world: World) -> None:
    world.deploy(spec(), built=False)
    request = world.ask()
    assert kinds(world.commands) == ["climb environment"]
    world.engine.answer_all()
    assert kinds(world.commands)[1:] == ["build", "climb instance", "dispatch"]
    assert request in world.gateway.running


def test_builds_run_one_after_another(world: World) -> None:
    world.deploy(spec("f"), spec("g"), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    assert kinds(world.commands).count("build") == 1
    world.engine.succeed(next(iter(world.engine.pending)))
    assert kinds(world.commands).count("build") == 2


def test_the_same_version_twice_is_nothing(world: World) -> None:
    world.deploy(spec())
    count = len(world.commands)
    world.deploy(spec())
    assert len(world.commands) == count


def test_a_new_version_is_parked_before_the_old_one_drains(world: World) -> None:
    old = world.parked(spec())
    world.deploy(spec(version="2"))
    climb = next(c for c in reversed(world.commands) if isinstance(c, Climb))
    assert climb.prime
    assert active(world) == "f-v1"
    assert world.ask() in world.gateway.running, "the old one still answers"
    world.engine.succeed(climb.id)
    assert active(world) == "f-v2"
    assert kinds(world.commands)[-2:] in (["revoke", "lease"], ["lease", "revoke"])
    world.gateway.finish(next(iter(world.gateway.running)))
    descend = next(c for c in world.commands if isinstance(c, Descend))
    assert descend.target.key == str(old)


def test_a_new_version_of_an_idle_function_is_active_at_once(world: World) -> None:
    world.deploy(spec(), spec(version="2"))
    assert active(world) == "f-v2"
    assert world.state.functions[F].previous == ["f-v1"]


def test_a_build_that_fails_leaves_the_old_version_active(world: World) -> None:
    world.parked(spec())
    world.deploy(spec(version="2"), built=False)
    world.engine.fail(next(iter(world.engine.pending)), "build_failed", "syntax error", permanent=True)
    assert active(world) == "f-v1"
    assert world.state.functions[F].error == "syntax error"
    assert VersionId("f-v2") not in world.state.context.store.versions


def fail_next(world: World) -> None:
    """Whatever is under way ends by bad luck; what is tried again after a pause is tried again."""
    world.engine.fail(next(iter(world.engine.pending)), "unavailable", "killed")
    world.advance(60.0)


def builds_fail(world: World, times: int) -> None:
    """`f-v2` is deployed over `f-v1`, and so many of its builds end by bad luck."""
    world.deploy(spec())
    world.deploy(spec(version="2"), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    for _ in range(times):
        world.engine.fail(next(iter(world.engine.pending)), "unavailable", "killed")
        world.advance(10.0)
    assert kinds(world.commands).count("build") == min(times + 1, 12)


def test_bad_luck_with_a_build_is_not_the_end_of_a_deploy(world: World) -> None:
    builds_fail(world, 11)
    world.engine.answer_all()
    assert active(world) == "f-v2"


def test_a_build_that_never_has_luck_is_given_up(world: World) -> None:
    builds_fail(world, 12)
    assert not world.engine.pending
    assert (active(world), world.state.functions[F].error) == ("f-v1", "killed")


def test_attempts_at_a_build_are_not_used_up_while_what_they_stand_on_is_found_to_be_gone(
    world: World,
) -> None:
    """A zygote's children are seen to end before it is itself: until then each of them ends at once."""
    world.deploy(spec(), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    for _ in range(300):
        for number, command in list(world.engine.pending.items()):
            if isinstance(command, Build):
                world.engine.fail(number, "unavailable", "its environment is gone")
        world.advance(0.01)
    assert kinds(world.commands).count("build") < 7
    world.engine.exit(Target("environment", NODE, spec().environment_key))
    world.advance(10.0)
    world.engine.answer_all()
    world.engine.answer_all()
    assert active(world) == "f-v1"


@pytest.mark.parametrize("again", ["1", "2"])
def test_who_is_deployed_again_waits_for_no_pause(world: World, again: str) -> None:
    world.deploy(spec(), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    for _ in range(5):
        world.engine.fail(next(iter(world.engine.pending)), "unavailable", "killed")
        world.advance(2.0)
    world.engine.fail(next(iter(world.engine.pending)), "unavailable", "killed")
    world.advance(0.1)
    assert not world.engine.pending
    world.deploy(spec(version=again), built=False)
    world.engine.answer_all()
    assert active(world) == f"f-v{again}"


def test_a_build_that_takes_too_long_is_tried_twice(world: World) -> None:
    world.deploy(spec())
    world.deploy(spec(version="2"), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    for _ in range(2):
        world.advance(ControlSettings().build_timeout_s + 1.0)
        for number, command in list(world.engine.pending.items()):
            if isinstance(command, Descend):
                world.engine.succeed(number)
    assert kinds(world.commands).count("build") == 2
    found = world.state.functions[F]
    assert (found.active, found.next, found.error) == ("f-v1", None, "no outcome after 600 s")


def test_bad_luck_with_its_environment_is_not_the_end_of_a_deploy(world: World) -> None:
    world.deploy(spec(), built=False)
    for _ in range(4):
        fail_next(world)
    world.engine.answer_all()
    assert active(world) == "f-v1"


def test_bad_luck_with_its_first_worker_is_not_the_end_of_a_deploy(world: World) -> None:
    world.deploy(spec())
    world.ask(timeout_s=9999.0)
    world.engine.answer_all()
    world.deploy(spec(version="2"))
    for _ in range(4):
        fail_next(world)
    assert (active(world), world.state.functions[F].next) == ("f-v1", "f-v2")
    world.engine.answer_all()
    assert active(world) == "f-v2"


def test_requests_wait_for_the_first_build_and_are_told_when_it_fails(world: World) -> None:
    world.deploy(spec(), built=False)
    request = world.ask()
    world.engine.succeed(next(iter(world.engine.pending)))
    world.engine.fail(next(iter(world.engine.pending)), "build_failed", "no module named x", permanent=True)
    assert world.outcome(request) == "build_failed"
    assert world.outcome(world.ask()) == "build_failed"


def test_of_two_deploys_at_once_the_last_wins(world: World) -> None:
    world.deploy(spec(version="1"), spec(version="2"), built=False)
    world.engine.answer_all()
    assert active(world) == "f-v2"


def test_a_new_version_does_not_take_the_memory_that_requests_for_the_old_one_wait_for() -> None:
    """With an environment of its own it would, and be evicted for them, in turns and without end."""
    world = World(replace(SETTINGS, environment_estimate_bytes=90), budget_bytes=1560)
    world.engine.held_bytes = lambda target: 80
    world.deploy(spec("c"), spec("d"), spec("f"))
    for name in ("c", "d"):
        world.ask(name)
        world.engine.answer_all()
    world.post(ScaleRequested(F, 1))
    waiting = world.ask("f")
    world.deploy(spec("f", version="2", environment="own"))
    world.post(Undeployed(FunctionId("d.default")))
    world.gateway.finish(next(r for r, where in world.gateway.running.items() if where == 2))
    world.engine.answer_all()
    assert waiting in world.gateway.running


def test_rolling_back_goes_the_same_way(world: World) -> None:
    world.deploy(spec())
    world.parked(spec(version="2"))
    world.post(RollbackRequested(F, VersionId("f-v1")))
    assert active(world) == "f-v2"
    world.engine.answer_all()
    assert active(world) == "f-v1"
    assert world.state.functions[F].previous == ["f-v2"]


def test_rolling_back_to_an_unknown_version_is_nothing(world: World) -> None:
    world.deploy(spec())
    assert world.post(RollbackRequested(F, VersionId("nope"))) == []


def test_three_versions_are_kept(world: World) -> None:
    world.deploy(*(spec(version=str(n)) for n in range(1, 7)))
    assert world.state.functions[F].previous == ["f-v3", "f-v4", "f-v5"]
    assert len(world.state.context.store.versions) == 4


def test_undeploying_lets_running_requests_finish_and_forgets_everything(world: World) -> None:
    world.deploy(spec())
    running, queued = world.ask(), world.ask()
    world.engine.answer_all()
    world.post(Undeployed(F))
    assert world.outcome(queued) == "unknown_function"
    assert world.outcome(world.ask()) == "unknown_function"
    world.gateway.finish(running)
    world.engine.answer_all()
    assert world.outcome(running) == "done"
    assert F not in world.state.functions
    assert {t.kind for t in world.engine.up} == {"environment"}


def test_a_climb_that_fails_after_its_function_was_undeployed_ends_its_request(world: World) -> None:
    world.deploy(spec())
    request = world.ask()
    world.engine.succeed(next(iter(world.engine.pending)))
    world.post(Undeployed(F))
    world.engine.fail(next(iter(world.engine.pending)))
    assert world.outcome(request) == "unknown_function"
    world.engine.answer_all()
    assert F not in world.state.functions


def test_a_lost_node_fails_what_ran_and_keeps_what_waits(world: World) -> None:
    world.deploy(spec())
    running, queued = world.ask(), world.ask()
    world.engine.answer_all()
    world.gateway.start(running)
    world.lose_node()
    assert world.outcome(running) == "worker_died"
    assert world.outcome(queued) is None
    world.post(NodeJoined(NodeSpec(NODE, 10_000)))
    world.answer(queued)
    assert world.outcome(queued) == "done"


def test_a_build_on_a_lost_node_starts_again(world: World) -> None:
    world.deploy(spec(), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    world.lose_node()
    world.post(NodeJoined(NodeSpec(NODE, 10_000)))
    world.engine.answer_all()
    assert active(world) == "f-v1"


def test_an_environment_that_fails_twice_tells_everybody(world: World) -> None:
    world.deploy(spec("f"), spec("g"))
    requests = [world.ask("f"), world.ask("g")]
    for _ in range(2):
        world.engine.fail(next(iter(world.engine.pending)))
    assert [world.outcome(request) for request in requests] == ["unavailable", "unavailable"]


@pytest.mark.parametrize("end", ["undeployed", "superseded", "rolled back"])
def test_a_build_that_nobody_waits_for_any_more_leaves_its_turn_to_the_next(world: World, end: str) -> None:
    world.deploy(spec(version="0"), spec())
    world.deploy(spec(version="2"), spec("other"), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    (build,) = world.engine.pending.values()
    if end == "undeployed":
        world.post(Undeployed(F))
    elif end == "superseded":
        world.deploy(spec(version="3"), built=False)
    else:
        world.post(RollbackRequested(F, VersionId("f-v0")))
    assert isinstance(build, Build)
    builds = [c.spec.version for c in world.commands if isinstance(c, Build)]
    assert builds == ["f-v2", "other-v1"]
    world.engine.cross(build, failed=end == "superseded")
    world.engine.answer_all()
    assert VersionId("f-v2") not in world.state.context.store.versions
    assert [c.spec.version for c in world.commands if isinstance(c, Build)].count(VersionId("f-v2")) == 1


def test_what_is_deployed_again_while_its_build_is_being_stopped_is_built_then(world: World) -> None:
    world.deploy(spec(), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    world.post(Undeployed(F))
    world.deploy(spec(), built=False)
    assert kinds(world.commands)[-1] == "descend build"
    world.engine.answer_all()
    assert active(world) == "f-v1"


OTHER = NodeId("there")


def _built_elsewhere_again(world: World) -> Build:
    """The first attempt took too long, and is still on its way out where it was."""
    world.deploy(spec(memory_bytes=8000), built=False)
    world.engine.succeed(next(iter(world.engine.pending)))
    world.post(NodeJoined(NodeSpec(OTHER, 10_000, 2)))
    world.advance(SETTINGS.build_timeout_s)
    world.engine.exit(Target("environment", NODE, spec().environment_key))
    world.advance(0.1)
    assert kinds(world.commands)[-2:] == ["descend build", "climb environment"]
    world.engine.succeed(next(n for n, c in world.engine.pending.items() if isinstance(c, Climb)))
    (build,) = (c for c in world.engine.pending.values() if isinstance(c, Build))
    assert build.node == OTHER
    return build


def test_an_attempt_that_leaves_is_not_sent_down_again_when_the_next_is_stopped(world: World) -> None:
    _built_elsewhere_again(world)
    world.post(Undeployed(F))
    sent = [c.target.node for c in world.commands if isinstance(c, Descend) and c.target.kind == "build"]
    assert sent == [NODE, OTHER]
    world.engine.answer_all()
    assert not world.state.context.store.versions


def test_a_build_goes_on_when_the_node_of_the_attempt_before_is_lost(world: World) -> None:
    build = _built_elsewhere_again(world)
    world.lose_node(NODE)
    assert not world.state.context.store.build_queue
    world.engine.succeed(build.id)
    assert active(world) == "f-v1"
    assert sum(isinstance(c, Build) for c in world.commands) == 2
