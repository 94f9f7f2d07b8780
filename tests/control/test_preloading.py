"""What is loaded ahead: where, for how long, and what becomes of it when somebody needs the room."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from glowplug.control.preloading.records import Preloads
from glowplug.control.preloading.view import PreloadView
from glowplug.control.status import function_statuses
from glowplug.core.commands import Climb, Descend, Dispatch
from glowplug.core.events import ClimbRequested, NodeJoined, PressureChanged
from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import NodeSpec
from tests.control.world import NODE, SETTINGS, World, spec

PERIOD_S = 10.0
LARGE: dict[str, Any] = {"memory_bytes": 700, "keep_warm_s": 1000.0}


def settings(preload: str, **changed: Any) -> ControlSettings:
    given = {"preload": preload, "substrate": "process", "lends": False, **changed}
    return msgspec.structs.replace(SETTINGS, **given)


def ladder(**changed: Any) -> ControlSettings:
    return settings("ladder", substrate="zygote", eviction="ladder", **changed)


def serve(world: World, name: str) -> None:
    request = world.ask(name)
    world.answer(request)
    world.gateway.report()


def call_regularly(world: World, name: str, calls: int = 4) -> None:
    """Each finds nothing: what it left goes right after it."""
    for _ in range(calls):
        serve(world, name)
        world.engine.answer_all()
        world.advance(PERIOD_S)


def climbs(world: World, name: str) -> list[Climb]:
    return [c for c in world.commands if isinstance(c, Climb) and c.target.kind == "instance"
            and c.spec.declaration.name == name]  # fmt: skip


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


def preloading_world(**changed: Any) -> World:
    """One function that is always to be there, and no memory in use but its."""
    world = World(settings("none", substrate="zygote", **changed), budget_bytes=1700)
    world.deploy(spec("ahead", preload="always"))
    return world


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


@pytest.mark.parametrize("crash", [True, False])
def test_a_pre_load_that_fails_pauses_and_requests_do_not(crash: bool) -> None:
    world = preloading_world()
    world.advance(0.0)
    for number, command in list(world.engine.pending.items()):
        if isinstance(command, Climb) and command.target.kind == "environment":
            world.engine.succeed(number)
    (climb,) = climbs(world, "ahead")
    if crash:
        world.engine.fail(climb.id, "function_failed", "it raised", permanent=True)
    else:
        world.advance(SETTINGS.climb_timeout_s + 1.0)
        for number in list(world.engine.pending):
            world.engine.succeed(number)
    preloads = world.state.context.store.preloads
    assert preloads.failed == 1
    assert preloads.paused_until(FunctionId("ahead.default")) > world.clock.now_s
    assert len(climbs(world, "ahead")) == 1
    request = world.ask("ahead")
    assert len(climbs(world, "ahead")) == 2, "a request does not wait for the pause to end"
    world.answer(request)
    assert world.outcome(request) == "done"


def test_a_paused_function_is_tried_again_later_and_later() -> None:
    world = preloading_world()
    tried = []
    for _ in range(200):
        for number, command in list(world.engine.pending.items()):
            if isinstance(command, Climb) and command.target.kind == "instance":
                tried.append(world.clock.now_s)
                world.engine.fail(number, "function_failed", "it raised", permanent=False)
            elif number in world.engine.pending:
                world.engine.succeed(number)
        world.advance(1.0)
    gaps = [b - a for a, b in itertools.pairwise(tried)]
    assert len(tried) >= 4
    assert all(later > 1.5 * sooner for sooner, later in itertools.pairwise(gaps))


def test_climbs_ahead_keep_to_their_share_of_a_core() -> None:
    """At 1 % of a core a node saves up 0.6 s: ten climbs of a second each cannot begin together."""
    world = World(settings("none", substrate="zygote", preload_cpu_share=0.01), budget_bytes=100_000)
    world.deploy(*(spec(f"f{n}", preload="always") for n in range(10)))
    world.engine.answer_all()
    begun = world.state.context.store.preloads.started
    assert 1 <= begun < 10
    assert world.state.context.store.preloads.held_back > 0
    for _ in range(120):
        world.advance(10.0)
        world.engine.answer_all()
    assert world.state.context.store.preloads.started == 10


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


@pytest.mark.parametrize("price", [{"preload_cpu_price": 2.0}, {"preload_byte_price": 1.0}])
def test_a_climb_that_costs_more_than_it_spares_is_not_begun(price: dict[str, float]) -> None:
    world = World(ladder(**price))
    world.deploy(spec("timer", prewarm="none"))
    call_regularly(world, "timer", 6)
    assert world.state.context.store.preloads.started == 0


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


def test_only_a_share_of_memory_is_for_what_nobody_has_used() -> None:
    """A worker takes 200 bytes of 4,000: two fit into an eighth."""
    world = World(settings("none", substrate="zygote", preload_memory_share=0.125), budget_bytes=4000)
    world.deploy(*(spec(f"f{n}", preload="always") for n in range(4)))
    for _ in range(10):
        world.engine.answer_all()
        world.advance(10.0)
    preloads = world.state.context.store.preloads
    assert len(preloads.unused) == 2
    assert preloads.held_back > 0


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


def test_where_much_is_loaded_in_vain_a_climb_has_to_be_worth_more() -> None:
    preloads = Preloads()
    world = preloading_world()
    world.engine.answer_all()
    instance = next(iter(world.state.context.store.instances.values()))
    shares = []
    for number in range(100):
        preloads.note_started(instance, 90, float(number), 1.0)
        preloads.note_unused(instance, number + 1.0)
        shares.append(preloads.used_share(NODE))
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.2
    for number in range(100):
        preloads.note_started(instance, 90, float(number), 1.0)
        preloads.note_used(instance.id)
    assert preloads.used_share(NODE) > 0.8
    world.state.context.store.preloads = preloads
    usual = PreloadView(world.state.context).cpu_price(NODE)
    preloads.used_shares[NODE] = 0.0
    assert PreloadView(world.state.context).cpu_price(NODE) > 2 * usual


def test_a_climb_costs_what_those_in_line_for_memory_wait_longer() -> None:
    """Each of them as long as it climbs, by the share of memory that it takes; an average over about a
    minute, which is over when nobody has waited for long."""
    world = World(ladder(environment_estimate_bytes=300), budget_bytes=300 + 10 + 700 + 400)
    world.parked(spec("busy"))
    world.deploy(spec("waits"))
    view = PreloadView(world.state.context)
    assert view.line_price(NODE) == 0.0
    answered = world.ask("busy", timeout_s=10_000.0)
    world.ask("waits", timeout_s=10_000.0)
    world.engine.answer_all()
    world.advance(600.0)
    budget_bytes = world.state.context.store.ledger.budget[NODE]
    assert view.line_price(NODE) * budget_bytes == pytest.approx(1.0, abs=0.01)
    world.answer(answered)
    world.engine.answer_all()
    assert not world.state.context.store.nodes[NODE].starved
    world.advance(600.0)
    world.deploy(spec("later"))
    assert view.line_price(NODE) * budget_bytes == pytest.approx(0.0, abs=0.01)


def test_a_line_is_averaged_over_time_and_a_clock_that_jumps_back_is_no_time() -> None:
    preloads = Preloads()
    assert preloads.see_line(NODE, 4, 1000.0) == 4.0
    assert 2.0 < preloads.see_line(NODE, 0, 1030.0) < 3.0
    before = preloads.lines[NODE].mean
    assert preloads.see_line(NODE, 9, 500.0) == before
