"""What bounds loading ahead: failures, a share of processor and memory, and what it has to be worth."""

from __future__ import annotations

import itertools
from math import inf
from typing import Any

import msgspec
import pytest

from glowplug.control.preloading.records import Allowance, Preloads
from glowplug.control.preloading.usage import Usage
from glowplug.control.preloading.view import PreloadView
from glowplug.core.commands import Climb
from glowplug.core.events import ClimbRequested, DescendRequested, NodeJoined, ScaleRequested
from glowplug.core.ids import FunctionId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.specs import NodeSpec
from glowplug.policy.preload import Raise
from tests.control.ahead import call_regularly, climbs, ladder, preloading_world, serve, settings
from tests.control.world import NODE, SETTINGS, World, spec


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


@pytest.mark.parametrize("loaded", [False, True])
def test_a_paused_function_is_tried_again_later_and_later(loaded: bool) -> None:
    world = preloading_world()
    tried = []
    for _ in range(200):
        for number, command in list(world.engine.pending.items()):
            if isinstance(command, Climb) and command.target.kind == "instance":
                tried.append(world.clock.now_s)
                if loaded:
                    world.engine.succeed(number)
                    world.engine.exit(command.target)
                else:
                    world.engine.fail(number, "function_failed", "it raised", permanent=False)
            elif number in world.engine.pending:
                world.engine.succeed(number)
        world.advance(1.0)
    gaps = [b - a for a, b in itertools.pairwise(tried)]
    assert len(tried) >= 4
    assert all(later > 1.5 * sooner for sooner, later in itertools.pairwise(gaps))


def test_a_pause_is_an_hour_at_most_however_often_loads_failed() -> None:
    world = preloading_world()
    world.engine.answer_all()
    instance = next(iter(world.state.context.store.instances.values()))
    preloads = Preloads()
    for number in range(5000):
        preloads.note_failed(instance.function, float(number))
        assert 0.0 < preloads.paused_until(instance.function) - number <= 3600.0
    assert preloads.paused_until(instance.function) == 4999.0 + 3600.0


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


def test_a_climb_ahead_is_charged_with_what_it_took_of_a_processor() -> None:
    """Beside a busy one it stands back, and takes fifty times as long."""
    world = World(settings("none", substrate="zygote"), budget_bytes=100_000)
    world.engine.took_s, world.engine.cpu_s = 50.0, 1.5
    world.deploy(*(spec(f"f{n}", preload="always") for n in range(3)))
    world.engine.answer_all()
    preloads = world.state.context.store.preloads
    assert preloads.started == 3
    assert preloads.seconds == 4.5
    assert preloads.allowances[NODE].left_s == pytest.approx(60 * SETTINGS.preload_cpu_share - 4.5)


def test_a_zygote_that_climbs_ahead_is_too_and_nothing_is_learned_from_it() -> None:
    world = World(settings("none", substrate="zygote"), budget_bytes=100_000)
    world.deploy(spec("f", keep_warm_s=10.0))
    serve(world, "f")
    world.engine.answer_all()
    world.advance(20.0)
    world.engine.answer_all()
    assert world.standing("f") == Step.IMPORTED
    context, function = world.state.context, FunctionId("f.default")
    context.policies.costs.learn("f-v1", "stage", 0.2)
    world.engine.took_s, world.engine.cpu_s = 50.0, 1.5
    context.store.preloads.wanted[function] = Raise(function, NODE, Step.STAGED, -inf, inf)
    world.post(ScaleRequested(function, 0))
    world.engine.answer_all()
    assert world.standing("f") == Step.STAGED
    preloads = context.store.preloads
    assert preloads.seconds == 1.5
    assert preloads.allowances[NODE].left_s == pytest.approx(60 * SETTINGS.preload_cpu_share - 1.5)
    assert context.policies.costs.measured_s("f-v1", "stage") == 0.2


@pytest.mark.parametrize("price", [{"preload_cpu_price": 2.0}, {"preload_byte_price": 1.0}])
def test_a_climb_that_costs_more_than_it_spares_is_not_begun(price: dict[str, float]) -> None:
    world = World(ladder(**price))
    world.deploy(spec("timer", prewarm="none"))
    call_regularly(world, "timer", 6)
    assert world.state.context.store.preloads.started == 0


def test_only_a_share_of_memory_is_for_what_nobody_has_used() -> None:
    """A worker takes 200 bytes and brings 500 of weights: of 4,000, two fit into three eighths."""
    world = World(settings("none", substrate="zygote", preload_memory_share=0.375), budget_bytes=4000)
    world.deploy(*(spec(f"f{n}", preload="always") for n in range(4)))
    for _ in range(10):
        world.engine.answer_all()
        world.advance(10.0)
    preloads = world.state.context.store.preloads
    assert len(preloads.unused) == 2
    assert preloads.held_back > 0


def world_that_stages(**changed: Any) -> tuple[World, Raise]:
    """A function whose environment is up, and a climb of its zygote that nobody asked for."""
    world = World(settings("none", substrate="zygote", **changed), budget_bytes=100_000)
    world.deploy(spec("f", keep_warm_s=10.0))
    serve(world, "f")
    world.engine.answer_all()
    world.advance(20.0)
    world.gateway.report()
    world.advance(60.0)
    world.engine.answer_all()
    function = FunctionId("f.default")
    climb = Raise(function, NODE, Step.STAGED, -inf, inf)
    world.state.context.store.preloads.wanted[function] = climb
    world.post(ScaleRequested(function, 0))
    return world, climb


def staging(world: World) -> Climb:
    (climb,) = (
        command
        for command in world.engine.pending.values()
        if isinstance(command, Climb) and command.target.kind == "version"
    )
    return climb


@pytest.mark.parametrize("permanent", [True, False])
def test_a_zygote_that_fails_ahead_pauses_its_function(permanent: bool) -> None:
    world, climb = world_that_stages()
    world.engine.fail(staging(world).id, "function_failed", "it raised", permanent=permanent)
    store, function = world.state.context.store, climb.function
    assert store.preloads.failed == 1
    assert store.preloads.paused_until(function) > world.clock.now_s
    assert store.functions[function].misses == 0
    steps = [step for step, *_ in PreloadView(world.state.context).steps_up(function, NODE)]
    assert (Step.STAGED in steps) != permanent, "what cannot be staged is not tried again"
    request = world.ask("f")
    world.answer(request)
    assert world.outcome(request) == "done"


def test_a_zygote_that_climbed_ahead_counts_until_a_request_runs_above_it() -> None:
    world, _ = world_that_stages()
    preloads = world.state.context.store.preloads
    held_bytes = preloads.unused_bytes(NODE)
    assert held_bytes > 0
    world.engine.answer_all()
    world.advance(5.0)
    assert preloads.unused_byte_s(world.clock.now_s) == pytest.approx(5.0 * held_bytes)
    world.answer(world.ask("f"))
    assert preloads.unused_bytes(NODE) == 0
    assert preloads.wasted_byte_s == 0.0


@pytest.mark.parametrize("lends", [False, True])
def test_a_zygote_is_used_when_its_worker_is_under_a_lease_too(lends: bool) -> None:
    world, climb = world_that_stages(lends=lends)
    preloads = world.state.context.store.preloads
    world.engine.answer_all()
    preloads.note_failed(climb.function, world.clock.now_s - 10.0)
    preloads.wanted[climb.function] = msgspec.structs.replace(climb, step=Step.PARKED)
    world.post(ScaleRequested(climb.function, 0))
    world.engine.answer_all()
    (instance,) = world.state.context.store.instances.values()
    assert instance.slot == ("leased" if lends else "idle")
    assert (len(preloads.unused), len(preloads.zygotes)) == (1, 1)
    serve(world, "f")
    world.advance(1.0)
    assert (len(preloads.unused), len(preloads.zygotes)) == (0, 0)
    assert preloads.served_at == {climb.function: NODE}
    assert not preloads.paused, "it went well, so failures before it are forgiven"


def test_a_zygote_that_somebody_asks_for_was_not_loaded_in_vain() -> None:
    world, climb = world_that_stages()
    preloads = world.state.context.store.preloads
    world.engine.answer_all()
    assert preloads.unused_bytes(NODE) > 0
    world.post(ClimbRequested(climb.function, Step.STAGED))
    assert preloads.unused_bytes(NODE) == 0
    world.advance(100.0)
    world.post(DescendRequested(climb.function, Step.LOCAL))
    world.engine.answer_all()
    assert preloads.wasted_byte_s == 0.0


def test_a_zygote_that_climbed_ahead_for_nobody_is_wasted() -> None:
    world, climb = world_that_stages()
    preloads = world.state.context.store.preloads
    held_bytes = preloads.unused_bytes(NODE)
    world.engine.answer_all()
    world.advance(5.0)
    world.post(DescendRequested(climb.function, Step.LOCAL))
    world.engine.answer_all()
    assert preloads.unused_bytes(NODE) == 0
    assert preloads.wasted_byte_s == pytest.approx(5.0 * held_bytes)


def load_ahead(world: World, times: int, *, used: bool) -> list[float]:
    """Returns what share is used after each."""
    preloads = world.state.context.store.preloads
    instance = next(iter(world.state.context.store.instances.values()))
    shares = []
    for _ in range(times):
        now_s = world.clock.now_s
        preloads.note_started(instance, 90, now_s, 0.0)
        if used:
            preloads.note_used(instance.id)
        else:
            preloads.note_unused(instance, now_s, in_vain=True)
        shares.append(preloads.usage_at(NODE).share)
    return shares


def test_where_much_is_loaded_in_vain_a_climb_has_to_be_worth_more() -> None:
    world = preloading_world()
    world.engine.answer_all()
    world.state.context.store.preloads = Preloads()
    view = PreloadView(world.state.context)
    usual = view.cpu_price(NODE)
    shares = load_ahead(world, 100, used=False)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.2
    assert view.cpu_price(NODE) > 2 * usual
    assert load_ahead(world, 100, used=True)[-1] > 0.8
    assert view.cpu_price(NODE) == pytest.approx(usual, rel=0.2)


def test_where_nothing_is_used_little_is_tried_until_something_is() -> None:
    """A price is divided by what is believed: at a tenth nothing is worth a climb any more."""
    usage, now_s, tried_s = Usage(), 0.0, []
    for _ in range(1000):
        if usage.believed(now_s) > 0.1:
            usage.begin(now_s)
            usage.end(used=False)
            tried_s.append(now_s)
        now_s += 10.0
    assert 5 < len(tried_s) < 15
    gaps_s = [after_s - before_s for before_s, after_s in itertools.pairwise(tried_s)]
    assert gaps_s == sorted(gaps_s)
    assert gaps_s[-1] >= 1000.0
    assert usage.believed(now_s - 1e6) >= 0.25, "a clock that jumps back does not prolong the pause"
    for _ in range(10):
        usage.begin(now_s)
        usage.end(used=True)
    assert usage.believed(now_s) >= 0.25


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


def test_who_waited_for_room_at_a_node_that_is_lost_climbs_elsewhere() -> None:
    other = NodeId("other")
    world = World(settings("none", substrate="zygote", preload_cpu_share=0.01), budget_bytes=100_000)
    context = world.state.context
    context.store.preloads.allowances[NODE] = Allowance(-1000.0, 0.0)
    world.deploy(spec("ahead", preload="always"))
    world.engine.answer_all()
    assert context.store.preloads.wanted[FunctionId("ahead.default")].node == NODE
    world.post(NodeJoined(NodeSpec(other, 100_000, 2)))
    world.engine.answer_all()
    assert climbs(world, "ahead") == []
    world.lose_node()
    world.engine.answer_all()
    assert [climb.target.node for climb in climbs(world, "ahead")] == [other]


@pytest.mark.parametrize("step", [Step.LOCAL, Step.STAGED])
def test_what_an_operator_sends_down_is_not_loaded_again_while_it_goes(step: Step) -> None:
    world = preloading_world()
    world.engine.answer_all()
    assert world.standing("ahead") == Step.PARKED
    before = len(climbs(world, "ahead"))
    world.post(DescendRequested(FunctionId("ahead.default"), step))
    world.engine.answer_all()
    assert world.standing("ahead") == step
    assert len(climbs(world, "ahead")) == before
