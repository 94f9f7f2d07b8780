"""Guests in the sandboxes of others: whose memory they take, when they go, which policies send them where."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from glowplug.core.commands import Climb, Descend
from glowplug.core.events import ClimbRequested, NodeJoined
from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.core.specs import NodeSpec
from tests.control.ahead import LARGE, PERIOD_S, call_regularly, climbs, serve, settings
from tests.control.world import NODE, World, spec


def guests(world: World) -> list[InstanceId]:
    store = world.state.context.store
    return [guest for inside in store.guests.values() for guest in inside]


def world_with_guest(preload: str = "tyche") -> tuple[World, InstanceId, InstanceId]:
    """A host's sandbox and in it a guest, loaded and unused."""
    world = World(settings(preload))
    host = world.parked(spec("host", **LARGE))
    world.deploy(spec("guest", prewarm="none"))
    call_regularly(world, "guest", 2)
    world.engine.answer_all()
    (guest,) = guests(world)
    assert world.state.context.store.instances[guest].slot == "idle"
    return world, host, guest


def test_a_guest_answers_at_once_and_takes_no_memory_of_the_node() -> None:
    world, host, guest = world_with_guest()
    store = world.state.context.store
    assert store.instances[guest].host == host
    before, used_bytes = len(climbs(world, "guest")), store.ledger.used[NODE]
    request = world.ask("guest")
    assert world.gateway.running[request] == guest
    assert len(climbs(world, "guest")) == before
    assert store.ledger.used[NODE] == used_bytes
    assert store.preloads.used == 1


def test_a_guest_goes_when_its_host_is_invoked() -> None:
    world, host, guest = world_with_guest()
    request = world.ask("host")
    assert world.gateway.running[request] == host
    assert guest not in world.state.context.store.instances or (
        world.state.context.store.instances[guest].draining
    )
    assert world.state.context.store.preloads.wasted == 1
    assert world.state.context.store.preloads.wasted_byte_s >= 0


def test_nothing_is_lost_when_a_host_expires_while_a_guest_answers() -> None:
    world, host, guest = world_with_guest()
    request = world.ask("guest")
    world.post(ClimbRequested(FunctionId("host.default"), Step.LOCAL))
    world.engine.answer_all()
    store = world.state.context.store
    assert world.gateway.running[request] == guest
    assert store.instances[host].draining
    assert store.holdings[store.instances[host].key].phase == "up", "its sandbox is in use"
    world.gateway.finish(request)
    world.engine.answer_all()
    assert world.outcome(request) == "done"
    assert host not in store.instances
    assert guest not in store.instances
    assert world.standing("host") == Step.LOCAL


def test_a_guest_whose_host_crashes_counts_for_itself_until_it_has_answered() -> None:
    world, host, guest = world_with_guest()
    request = world.ask("guest")
    store = world.state.context.store
    world.engine.exit(next(t for t in world.engine.up if t.key == str(host)))
    assert store.ledger.held_bytes(store.instances[guest].key) == 90
    world.gateway.finish(request)
    world.engine.answer_all()
    assert world.outcome(request) == "done"
    assert guest not in store.instances


def test_tyche_fills_a_sandbox_that_instainfer_cannot_see() -> None:
    """The function ran at one node; the only sandbox with room is at another."""
    found = {}
    for preload in ("instainfer", "tyche"):
        world = World(settings(preload), budget_bytes=3000)
        world.parked(spec("host", **LARGE))
        world.post(NodeJoined(NodeSpec(NodeId("there"), 9000, 2)))
        world.deploy(spec("guest", environment="own", prewarm="none"))
        call_regularly(world, "guest", 4)
        assert {c.target.node for c in climbs(world, "guest") if c.priority != Priority.BACKGROUND} == {
            "there"
        }
        found[preload] = [c.target.node for c in climbs(world, "guest") if c.priority == Priority.BACKGROUND]
    assert found["instainfer"] == []
    assert set(found["tyche"]) == {NODE}


def sandbox_commands(preload: str) -> list[tuple[str, float]]:
    """What becomes of sandboxes of their own, guests left out, for the same calls."""
    world = World(settings(preload))
    world.deploy(spec("host", **{**LARGE, "keep_warm_s": 25.0}), spec("guest", memory_bytes=100))
    found: list[tuple[str, float]] = []
    seen = 0
    for _ in range(5):
        serve(world, "host")
        world.advance(PERIOD_S)
        inside = {str(guest) for guest in guests(world)}
        for command in world.commands[seen:]:
            if isinstance(command, (Climb, Descend)) and command.target.key not in inside:
                ahead = isinstance(command, Climb) and command.priority == Priority.BACKGROUND
                assert not ahead, "a sandbox was made ahead"
                found.append((f"{type(command).__name__} {command.target}", world.clock.now_s))
        seen = len(world.commands)
    return found


def test_published_policies_leave_sandboxes_to_their_host_policy() -> None:
    assert sandbox_commands("none") == sandbox_commands("tyche") == sandbox_commands("instainfer") != []


def test_pagurus_empties_a_sandbox_for_another() -> None:
    world = World(settings("none", prewarm="pagurus"), budget_bytes=3000)
    host = world.parked(spec("host", **LARGE))
    world.deploy(spec("guest"))
    request = world.ask("guest")
    assert host not in world.state.context.store.instances or (
        world.state.context.store.instances[host].why == "taken over"
    )
    world.answer(request)
    assert world.outcome(request) == "done"


@pytest.mark.parametrize("policy", ["tyche", "instainfer"])
@pytest.mark.parametrize(("lends", "late"), [(False, False), (True, False), (False, True), (True, True)])
def test_zygotes_unload_at_the_end_of_a_window_what_nobody_used(policy: str, lends: bool, late: bool) -> None:
    """Where there are no sandboxes to be a guest in, workers are loaded in free memory. One that is up `late`
    climbed until its window had closed."""
    world = World(settings(policy, substrate="zygote", prewarm="kept", lends=lends), budget_bytes=10_000)
    world.deploy(spec("f", prewarm="none"))
    call_regularly(world, "f", 3)
    if not late:
        world.engine.answer_all()
    store = world.state.context.store
    assert len(store.preloads.unused) == 1
    for _ in range(10):
        world.advance(PERIOD_S)
        world.gateway.report()
        world.engine.answer_all()
    assert not store.preloads.unused
    assert store.preloads.wasted == 1


def test_all_unload_whose_windows_close_at_once() -> None:
    """More than the decisions of one round."""
    unlimited: dict[str, Any] = {"substrate": "zygote", "prewarm": "kept", "preload_cpu_share": inf}
    world = World(settings("tyche", **unlimited), budget_bytes=1_000_000)
    names = [f"f{number}" for number in range(70)]
    world.deploy(*(spec(name, prewarm="none", keep_warm_s=1e6) for name in names))
    for _ in range(3):
        for request in [world.ask(name) for name in names]:
            world.answer(request)
        world.engine.answer_all()
        world.advance(PERIOD_S)
    world.engine.answer_all()
    preloads = world.state.context.store.preloads
    assert len(preloads.unused) > 64
    world.advance(10 * PERIOD_S)
    world.engine.answer_all()
    assert not preloads.unused


def test_what_takes_over_sandboxes_forks_from_no_zygote_that_is_not_there() -> None:
    """On zygotes there is nothing to take over: who has no zygote climbs as it would under `fixed`."""
    world = World(settings("none", substrate="zygote"), budget_bytes=10_000)
    world.deploy(spec("other", prewarm="pagurus"), spec("f", prewarm="pagurus"))
    serve(world, "other")
    world.engine.answer_all()
    world.ask("f")
    (climb,) = climbs(world, "f")
    assert climb.origin == Step.IMPORTED
    assert world.standing("other") == Step.PARKED


def test_zygotes_load_in_what_room_there_is_beside_weights_that_lie_there() -> None:
    """Room for one worker more, and not for its weights a second time."""
    world = World(settings("tyche", substrate="zygote", prewarm="kept"), budget_bytes=1700)
    world.parked(spec("other"))
    world.deploy(spec("f", prewarm="none"))
    call_regularly(world, "f", 3)
    world.engine.answer_all()
    store = world.state.context.store
    assert store.ledger.free_bytes(NODE) < 500
    assert store.preloads.started >= 1
