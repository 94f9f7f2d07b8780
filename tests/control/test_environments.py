"""Environments with packages of their own: patience, who goes ahead meanwhile, and when they end."""

from __future__ import annotations

import pytest

from glowplug.control.state import ControlState
from glowplug.control.status import function_status
from glowplug.core.commands import Build, Climb
from glowplug.core.events import ClimbProgress, Undeployed
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step
from tests.control.world import NODE, SETTINGS, World, kinds, spec


@pytest.fixture
def world() -> World:
    return World()


def own(name: str) -> object:
    return spec(name, environment=f"e-{name}", packages=f"p-{name}")


def climb_of(world: World, name: str) -> Climb:
    """The climb of a function's environment that is under way."""
    return next(c for c in world.commands if isinstance(c, Climb) and c.target.key == f"default/e-{name}")


def install(world: World, name: str) -> None:
    """Its climb says that packages are being installed."""
    world.post(ClimbProgress(climb_of(world, name).id, "environment", 0.0))


def phase(world: World, name: str) -> str:
    status = function_status(world.state, FunctionId(f"{name}.default"))
    assert status is not None
    return status.phase


def test_others_are_built_while_packages_are_installed(world: World) -> None:
    world.deploy(own("slow"), spec("quick"), built=False)
    assert kinds(world.commands) == ["climb environment"]
    install(world, "slow")
    assert kinds(world.commands) == ["climb environment", "climb environment"]
    world.engine.succeed(max(world.engine.pending))
    (build,) = [c for c in world.commands if isinstance(c, Build)]
    assert build.spec.function == "quick.default"
    world.engine.answer_all()
    assert world.standing("slow") == world.standing("quick") == Step.IMPORTED


def test_an_import_is_waited_for_in_order(world: World) -> None:
    world.deploy(own("first"), spec("second"), built=False)
    world.post(ClimbProgress(climb_of(world, "first").id, "import", 0.0))
    assert kinds(world.commands) == ["climb environment"]


def test_only_so_many_are_installed_at_once_for_builds(world: World) -> None:
    names = ["a", "b", "c"]
    world.deploy(*map(own, names), spec("plain"), built=False)
    install(world, "a")
    install(world, "b")
    keys = [c.target.key for c in world.commands if isinstance(c, Climb)]
    assert keys == [
        "default/e-a",
        "default/e-b",
        "default/e",
    ]  # c waits; who needs nothing installed does not
    world.engine.succeed(climb_of(world, "a").id)
    world.engine.succeed(next(c.id for c in world.commands if isinstance(c, Build)))
    assert climb_of(world, "c")
    world.engine.answer_all()
    assert {world.standing(name) for name in names} == {Step.IMPORTED}


def test_what_is_under_way_is_shown(world: World) -> None:
    world.deploy(own("f"), own("g"), built=False)
    assert (phase(world, "f"), phase(world, "g")) == ("import", "waiting")
    install(world, "f")
    assert phase(world, "f") == "environment"
    again = ControlState.from_snapshot(world.state.snapshot())
    status = function_status(again, FunctionId("f.default"))
    assert status is not None
    assert (status.phase, status.packages, status.environment) == ("environment", "p-f", "e-f")
    world.engine.succeed(climb_of(world, "f").id)
    assert phase(world, "f") == "build"
    world.engine.answer_all()
    assert phase(world, "f") == ""


def test_installing_may_take_longer_than_other_climbs(world: World) -> None:
    world.deploy(own("f"), built=False)
    world.advance(SETTINGS.climb_timeout_s + SETTINGS.environment_timeout_s - 1)
    assert kinds(world.commands) == ["climb environment"]
    world.advance(2)
    assert "descend environment" in kinds(world.commands)


def test_it_ends_when_nobody_needs_it_any_more(world: World) -> None:
    shared = spec("f", environment="e-own", packages="p")
    world.deploy(shared, spec("g", environment="e-own", packages="p"), spec("h"), built=False)
    world.engine.answer_all()
    world.post(Undeployed(FunctionId("f.default")))
    world.engine.answer_all()
    assert "descend environment" not in kinds(world.commands)
    world.post(Undeployed(FunctionId("g.default")))
    world.post(Undeployed(FunctionId("h.default")))
    world.engine.answer_all()
    assert kinds(world.commands).count("descend environment") == 1
    assert list(world.state.context.store.environments) == ["default/e"]


def test_of_one_that_nobody_needs_any_more_nothing_is_kept(world: World) -> None:
    world.deploy(own("f"), spec("h"), built=False)
    world.answer(world.ask("f"))
    known = [getattr(world.state.context.policies, name) for name in ("arrivals", "costs")]
    places = [known[0].counts, known[1].seconds, known[1].held]
    assert all("default/e-f" in place and "default/e" in place for place in places)
    world.post(Undeployed(FunctionId("f.default")))
    world.post(Undeployed(FunctionId("h.default")))
    world.engine.answer_all()
    world.gateway.report()
    world.engine.answer_all()
    assert not any("default/e-f" in place for place in places)
    assert all("default/e" in place for place in places), "that of the server's packages stays"


def test_an_undeploy_ends_an_installation(world: World) -> None:
    world.deploy(own("f"), built=False)
    install(world, "f")
    world.post(Undeployed(FunctionId("f.default")))
    assert kinds(world.commands)[-1] == "descend environment"
    world.engine.answer_all()
    assert world.state.context.store.environments == {}


def test_progress_of_what_is_over_is_ignored(world: World) -> None:
    world.deploy(own("f"), built=False)
    climb = climb_of(world, "f")
    world.engine.answer_all()
    assert world.post(ClimbProgress(climb.id, "environment", 0.0)) == []
    assert NODE in world.state.nodes
