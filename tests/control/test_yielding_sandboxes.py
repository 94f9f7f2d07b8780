"""Sandboxes of their models' own size, which keep these until a guest that is worth more needs the room."""

from __future__ import annotations

import pytest

from glowplug.core.commands import Climb
from glowplug.core.ids import InstanceId
from tests.control.ahead import PERIOD_S, call_regularly, climbs, serve, settings
from tests.control.world import NODE, World, spec

TIGHT = {"memory_bytes": 90, "keep_warm_s": 1000.0}
"""As much as its model takes."""


def yielding_world(policy: str = "tyche", **declared: object) -> tuple[World, InstanceId]:
    """A host that was called once, and a guest that is called all the time and has no sandbox."""
    world = World(settings(policy, guests_displace=True))
    host = world.parked(spec("host", **{**TIGHT, **declared}))
    world.deploy(spec("guest", prewarm="none", memory_bytes=90))
    call_regularly(world, "guest", 2)
    return world, host


def inside(world: World, host: InstanceId) -> list[InstanceId]:
    return list(world.state.context.store.guests.get(host, ()))


@pytest.mark.parametrize("preload", ["tyche", "instainfer"])
def test_a_guest_has_the_room_of_a_model_that_is_worth_less(preload: str) -> None:
    world, host = yielding_world(preload)
    store = world.state.context.store
    (guest,) = inside(world, host)
    (ahead,) = [c for c in world.commands if isinstance(c, Climb) and c.displaces is not None]
    assert (ahead.displaces, ahead.spec.declaration.name) == (host, "guest")
    assert not store.instances[host].loaded
    used_bytes = store.ledger.used[NODE]
    world.engine.answer_all()
    request = world.ask("guest")
    assert world.gateway.running[request] == guest
    assert store.ledger.used[NODE] == used_bytes


def test_its_owner_loads_again_where_it_was_and_the_guest_goes() -> None:
    world, host = yielding_world()
    (guest,) = inside(world, host)
    world.engine.answer_all()
    before = len(climbs(world, "host"))
    request = world.ask("host")
    assert world.gateway.running[request] == host
    assert len(climbs(world, "host")) == before
    assert world.state.context.store.instances[host].loaded
    world.answer(request)
    assert world.outcome(request) == "done"
    assert guest not in inside(world, host)


def test_its_owner_goes_elsewhere_while_the_guest_answers() -> None:
    world, host = yielding_world()
    world.engine.answer_all()
    busy = world.ask("guest")
    request = world.ask("host")
    world.engine.answer_all()
    assert world.gateway.running.get(request) != host
    world.gateway.finish(busy)
    world.engine.answer_all()
    assert request in world.gateway.running
    world.gateway.finish(request)
    assert world.outcome(request) == "done"


@pytest.mark.parametrize("declared", [{"pin": True}, {"preload": "always"}])
def test_a_model_that_is_to_stay_does(declared: dict[str, object]) -> None:
    world, host = yielding_world(**declared)
    assert not inside(world, host)


def test_a_model_that_is_called_as_often_stays() -> None:
    world = World(settings("tyche", guests_displace=True))
    world.deploy(spec("host", **TIGHT), spec("guest", prewarm="none", memory_bytes=90))
    for _ in range(3):
        serve(world, "guest")
        for _ in range(2):
            serve(world, "host")
            world.engine.answer_all()
            world.advance(PERIOD_S / 2)
    assert not world.state.context.store.guests


def test_without_leave_nobody_is_displaced() -> None:
    world = World(settings("tyche"))
    host = world.parked(spec("host", **TIGHT))
    world.deploy(spec("guest", prewarm="none", memory_bytes=90))
    call_regularly(world, "guest", 3)
    assert not inside(world, host)
