from __future__ import annotations

from typing import Any

import pytest

from glowplug.control.fleet.schedule import fleet_view
from glowplug.control.status import node_statuses
from glowplug.core.commands import Build, Climb, Reject
from glowplug.core.events import (
    ClimbRequested,
    ContextWaits,
    Deployed,
    DescendRequested,
    DeviceJoined,
    DeviceLost,
    NodeJoined,
    PressureChanged,
    ScaleRequested,
    Undeployed,
)
from glowplug.core.ids import DeviceId, FunctionId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, DeviceSpec, FunctionSpec, NodeSpec
from glowplug.policy.eviction.offers import Offers
from glowplug.policy.registry import POLICIES
from tests.control.world import NODE, World, spec

FACTS = BundleFacts(parked_bytes=100, peak_bytes=100)


def model(name: str, size_bytes: int = 1000, version: str = "1", **declared: Any) -> FunctionSpec:
    declared = {"device": "gpu", "device_memory_bytes": size_bytes, "max_workers": 9, **declared}
    return spec(name, version, **declared)


def world_of(*capacities: int, scheduling: str = "lb", budget_bytes: int = 10_000) -> World:
    control = ControlSettings(
        environment_estimate_bytes=100,
        reserve_margin_bytes=0,
        reserve_factor=1.0,
        scheduling=scheduling,
        climb_timeout_s=15.0,
    )
    world = World(control, budget_bytes)
    for number, capacity_bytes in enumerate(capacities):
        world.post(DeviceJoined(NODE, DeviceSpec(DeviceId(f"d{number}"), capacity_bytes)))
    return world


def deploy(world: World, *specs: FunctionSpec) -> None:
    for one in specs:
        world.post(Deployed(one, FACTS))


def test_without_devices_a_run_is_expected_to_take_what_is_told_of_it() -> None:
    world = world_of()
    deploy(world, model("f"))
    view = fleet_view(world.state.context)
    assert view.usual_run_s(FunctionId("f.default")) == view.expected[FunctionId("f.default")].alone_s


def refusal(world: World) -> Reject:
    return [c for c in world.commands if isinstance(c, Reject)][-1]


def devices_of(world: World, name: str) -> list[str]:
    return sorted(world.state.context.store.fleet.where.get(FunctionId(f"{name}.default"), ()))


def loads(world: World) -> list[Climb]:
    return [c for c in world.engine.pending.values() if isinstance(c, Climb) and c.device is not None]


def test_a_model_larger_than_every_device_is_refused_at_once() -> None:
    for scheduling in ("lb", "finish-first"):
        world = world_of(1000, 2000, scheduling=scheduling)
        deploy(world, model("huge", 2_500_000_000))
        request = world.ask("huge")
        assert world.outcome(request) == "no_space"
        assert "needs 2500 MB of a device, and d1 has 0 MB" in refusal(world).message


def test_without_any_device_it_is_told_and_one_that_joins_serves() -> None:
    world = world_of()
    deploy(world, model("f"))
    assert world.outcome(world.ask("f")) == "unavailable"
    world.post(DeviceJoined(NODE, DeviceSpec(DeviceId("late"), 1000)))
    request = world.ask("f")
    world.engine.answer_all()
    assert request in world.gateway.running


def test_what_only_a_device_that_leaves_could_hold_is_refused_then() -> None:
    world = world_of(1000, 2000, scheduling="finish-first")
    deploy(world, model("f"), model("large", 1500))
    first = world.ask("large")
    world.engine.answer_all()
    world.gateway.start(first)
    waits = world.ask("large")
    world.lose_device(DeviceId("d1"))
    assert world.outcome(first) == "worker_died"
    assert world.outcome(waits) == "no_space"


def test_a_device_that_leaves_is_forgotten_by_its_eviction_policy() -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("f"))
    world.answer(world.ask("f"))
    offers = world.state.context.policies.device_eviction
    assert isinstance(offers, Offers)
    assert offers.heaps.keys() == offers.bytes_by_node.keys() == {"d0"}
    world.lose_device(DeviceId("d0"))
    assert not offers.heaps
    assert not offers.bytes_by_node


def test_a_node_too_small_for_any_worker_is_told_and_forgiven() -> None:
    world = world_of(1000, scheduling="finish-first", budget_bytes=150)
    deploy(world, model("f"))
    world.engine.answer_all()
    refused = world.ask("f")
    world.engine.answer_all()
    assert world.outcome(refused) == "no_space"
    assert "memory budget of node here" in refusal(world).message
    world.post(PressureChanged(NODE, 1000))
    served = world.ask("f")
    world.engine.answer_all()
    assert served in world.gateway.running


def test_what_waits_in_a_context_counts_as_long_as_its_device_is_there() -> None:
    world = world_of(1000, scheduling="finish-first", budget_bytes=1000)
    world.post(ContextWaits(DeviceId("d0"), 400))
    world.post(ContextWaits(DeviceId("d0"), 950))
    world.post(ContextWaits(DeviceId("unknown"), 70))
    (node,) = node_statuses(world.state)
    assert (node.budget_bytes, node.reserved_bytes) == (1000, 950)
    deploy(world, model("f"), spec("cpu", "1"))
    world.engine.answer_all()
    refused = world.ask("cpu")
    world.engine.answer_all()
    assert world.outcome(refused) == "no_space"
    assert "(0 MB beside its devices' contexts)" in refusal(world).message
    world.lose_device(DeviceId("d0"))
    served = world.ask("cpu")
    world.engine.answer_all()
    assert served in world.gateway.running


def test_replicas_that_do_not_fit_together_do_not_evict_each_other() -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("a"), model("b"))
    world.post(ScaleRequested(FunctionId("a.default"), 1))
    world.engine.answer_all()
    world.post(ScaleRequested(FunctionId("b.default"), 1))
    world.engine.answer_all()
    assert (devices_of(world, "a"), devices_of(world, "b")) == (["d0"], [])
    request = world.ask("b")
    world.engine.answer_all()
    assert request in world.gateway.running, "a request may take what is pinned and idle"


@pytest.mark.parametrize("scheduling", ["finish-first", "lb", "start-estimate"])
def test_a_function_that_waits_for_memory_at_two_nodes_comes_to_rest(scheduling: str) -> None:
    """It stands in one node's line, and leaving that for the other's used to go on for ever."""
    world = world_of(2000, scheduling=scheduling, budget_bytes=290)
    world.post(NodeJoined(NodeSpec(NodeId("there"), 290, 2, (DeviceSpec(DeviceId("d2"), 2000),))))
    deploy(world, model("full", 900), model("waits", 900))
    world.post(ScaleRequested(FunctionId("full.default"), 2))
    world.engine.answer_all()
    for _ in range(4):
        world.ask("full")
    world.post(ScaleRequested(FunctionId("waits.default"), 2))
    waiting = world.ask("waits")
    world.engine.answer_all()
    assert waiting in world.gateway.waiting
    world.post(Undeployed(FunctionId("full.default")))
    for request in list(world.gateway.running):
        world.gateway.finish(request)
    world.engine.answer_all()
    assert waiting in world.gateway.running


def test_a_function_that_moves_to_the_cpu_takes_its_line_along() -> None:
    world = world_of(1000)
    deploy(world, model("f"))
    first = world.ask("f")
    assert world.state.context.store.fleet.lined == 1
    deploy(world, model("f", version="2", device="cpu"))
    world.engine.answer_all()
    assert world.state.context.store.fleet.lined == 0
    assert first in world.gateway.running


def test_a_load_that_fails_pauses_its_device_and_another_takes_over() -> None:
    world = world_of(1000, 1000)
    deploy(world, model("f"))
    request = world.ask("f")
    while not loads(world):
        world.engine.succeed(next(iter(world.engine.pending)))
    world.engine.fail(loads(world)[0].id, "device_failed", "the copy failed")
    assert [load.device for load in loads(world)] == ["d1"]
    world.engine.answer_all()
    assert request in world.gateway.running
    world.gateway.finish(request)
    assert world.state.context.store.fleet.devices[DeviceId("d0")].paused_until_s > 0
    world.advance(1.0)
    assert world.state.context.store.fleet.devices[DeviceId("d0")].paused_until_s == 0


@pytest.mark.parametrize("scheduling", ["finish-first", "lb-overlap", "lalb-overlap"])
def test_a_model_that_dies_where_it_waits_for_its_turn_is_not_loaded_without_end(scheduling: str) -> None:
    world = world_of(2000, scheduling=scheduling)
    deploy(world, model("a", 900), model("b", 900))
    running = world.ask("b")
    world.engine.answer_all()
    waiting = world.ask("a")
    count = len(loads(world))
    while (climbing := loads(world)) and len(climbing) == 1 and count < 100:
        world.engine.succeed(climbing[0].id)
        world.engine.exit(climbing[0].target)
        count += 1
    assert running in world.gateway.running
    assert 2 <= count < 100
    world.advance(1.0)
    world.engine.answer_all()
    world.gateway.finish(running)
    assert waiting in world.gateway.running or world.outcome(waiting) == "unavailable"


@pytest.mark.parametrize("scheduling", ["finish-first", "lb", "mqfq-sticky"])
def test_who_waits_for_an_environment_that_fails_twice_is_told_and_the_load_is_given_up(
    scheduling: str,
) -> None:
    world = world_of(1000, scheduling=scheduling)
    deploy(world, model("f"))
    request = world.ask("f")
    for _ in range(2):
        (climb,) = world.engine.pending
        world.engine.fail(climb)
    assert refusal(world).message == "bad luck"
    assert world.outcome(request) == "unavailable"
    assert not world.engine.pending, "nobody waits for it any more"
    world.advance(1.0)
    world.answer(world.ask("f"))


@pytest.mark.parametrize(
    ("code", "longest_s"), [("worker_died", 0.5), ("function_failed", 0.5), ("device_failed", 8.0)]
)
def test_a_function_that_cannot_be_loaded_does_not_pause_its_device_for_long(
    code: str, longest_s: float
) -> None:
    world = world_of(1000)
    deploy(world, model("bad"))
    world.ask("bad")
    while not loads(world):
        world.engine.succeed(next(iter(world.engine.pending)))
    device = world.state.context.store.fleet.devices[DeviceId("d0")]
    pauses_s: list[float] = []
    for _ in range(5):
        world.engine.fail(loads(world)[0].id, code, "it did not come")
        pauses_s.append(device.paused_until_s - world.clock.now_s)
        while not loads(world):
            world.ask("bad")
            world.advance(0.5)
    assert max(pauses_s) == pytest.approx(longest_s)


def test_a_load_that_crosses_the_loss_of_its_device_leaves_nothing_there() -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("f"))
    world.ask("f")
    while not loads(world):
        world.engine.succeed(next(iter(world.engine.pending)))
    (crossing,) = loads(world)
    # Its Climb is on its way to a node that has told of the loss, and of the return, before it read it.
    world.post(DeviceLost(DeviceId("d0"), "its memory was lost"))
    world.post(DeviceJoined(NODE, DeviceSpec(DeviceId("d0"), 1000)))
    request = world.ask("f")
    world.engine.succeed(crossing.id)
    assert crossing.target in world.engine.up
    world.engine.answer_all()
    assert crossing.target not in world.engine.up
    assert request in world.gateway.running
    world.gateway.finish(request)


def test_a_device_that_lost_its_memory_tells_what_ran_and_loads_the_rest_again() -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("f"))
    runs = world.ask("f")
    world.engine.answer_all()
    world.gateway.start(runs)
    waits = world.ask("f")
    world.forget_device(DeviceId("d0"))
    world.post(DeviceJoined(NODE, DeviceSpec(DeviceId("d0"), 1000)))
    assert world.outcome(runs) == "worker_died"
    world.engine.answer_all()
    assert waits in world.gateway.running


def test_what_is_undeployed_is_not_loaded_ahead_while_it_goes() -> None:
    world = world_of(1000, 2000, scheduling="finish-first")
    deploy(world, model("f"), model("g"))
    for name in ("f", "g"):
        request = world.ask(name)
        world.engine.answer_all()
        world.gateway.finish(request)
    world.post(Undeployed(FunctionId("f.default")))
    world.advance(2.0)
    world.ask("g")
    assert all(load.spec.function == "g.default" for load in loads(world))


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("scheduling", sorted(POLICIES["scheduling"]))
def test_two_that_are_to_be_there_and_do_not_fit_together_do_not_evict_each_other_for_ever(
    scheduling: str, copies: int
) -> None:
    """While requests wait for both."""
    world = world_of(2000, scheduling=scheduling)
    deploy(world, model("f", 900, min_workers=1), model("g", 1500, min_workers=1))
    world.engine.answer_all()
    requests = [world.ask(name) for name in "fgfgfg"]
    for name in "fg":
        world.post(ScaleRequested(FunctionId(f"{name}.default"), copies))
    for _ in range(12):
        world.engine.answer_all()
        for request in list(world.gateway.running):
            world.gateway.finish(request)
    assert [world.outcome(request) for request in requests] == ["done"] * 6


@pytest.mark.parametrize("lost", ["device", "node"])
def test_copies_that_are_to_be_there_are_there_again_when_what_was_lost_is_back(lost: str) -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("f", min_workers=1))
    world.engine.answer_all()
    assert devices_of(world, "f") == ["d0"]
    if lost == "node":
        world.lose_node()
        world.post(NodeJoined(NodeSpec(NODE, 10_000, 2, (DeviceSpec(DeviceId("d0"), 1000),))))
    else:
        world.lose_device(DeviceId("d0"))
        world.post(DeviceJoined(NODE, DeviceSpec(DeviceId("d0"), 1000)))
    world.engine.answer_all()
    assert devices_of(world, "f") == ["d0"]


def test_a_copy_whose_load_had_not_begun_goes_to_another_device_when_its_own_is_lost() -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("g", min_workers=1), model("f", min_workers=1))
    world.engine.answer_all()
    world.post(Undeployed(FunctionId("g.default")))
    world.post(ScaleRequested(FunctionId("f.default"), 1))
    assert devices_of(world, "f") == ["d0"], "and waits for what leaves"
    world.post(DeviceJoined(NODE, DeviceSpec(DeviceId("d1"), 1000)))
    world.lose_device(DeviceId("d0"))
    assert devices_of(world, "f") == ["d1"]


def test_copies_that_are_to_be_there_come_when_a_pause_is_over() -> None:
    world = world_of(2000, scheduling="lb")
    deploy(world, model("bad"))
    world.ask("bad")
    while not loads(world):
        world.engine.succeed(next(iter(world.engine.pending)))
    world.engine.fail(loads(world)[0].id, "device_failed", "the copy failed", permanent=True)
    deploy(world, model("f", min_workers=1))
    world.engine.answer_all()
    assert devices_of(world, "f") == []
    world.advance(1.0)
    world.engine.answer_all()
    assert devices_of(world, "f") == ["d0"]


def test_copies_that_are_to_be_there_come_when_others_made_room() -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("f", min_workers=1), model("g", min_workers=1))
    world.engine.answer_all()
    assert (devices_of(world, "f"), devices_of(world, "g")) == (["d0"], [])
    world.post(Undeployed(FunctionId("f.default")))
    world.engine.answer_all()
    assert devices_of(world, "g") == ["d0"]


def test_what_is_sent_up_by_hand_comes_to_a_device() -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("f"))
    world.post(ClimbRequested(FunctionId("f.default"), Step.PARKED))
    world.engine.answer_all()
    assert devices_of(world, "f") == ["d0"]
    assert len(world.state.context.store.instances) == 1
    assert world.state.functions[FunctionId("f.default")].goal is None, "it is reached"


@pytest.mark.parametrize(("capacities", "words"), [((), "there is none"), ((900,), "needs")])
def test_what_is_sent_up_by_hand_and_can_lie_on_no_device_is_told(
    capacities: tuple[int, ...], words: str
) -> None:
    world = world_of(*capacities, scheduling="finish-first")
    deploy(world, model("f"))
    world.post(ClimbRequested(FunctionId("f.default"), Step.PARKED))
    world.engine.answer_all()
    function = world.state.functions[FunctionId("f.default")]
    assert words in function.error
    assert function.goal is None


def test_a_copy_that_waits_for_its_environment_is_in_nobodys_way() -> None:
    world = world_of(2000, scheduling="finish-first")
    deploy(world, model("h"))
    world.answer(world.ask("h"))
    world.engine.answer_all()
    deploy(world, model("f", environment="slow", min_workers=1), model("g"))
    (slow,) = [c.id for c in world.engine.pending.values() if isinstance(c, Climb) and c.device is None]
    request = world.ask("g")
    for load in loads(world):
        world.engine.succeed(load.id)
    assert request in world.gateway.running
    world.engine.succeed(slow)
    world.engine.answer_all()
    assert devices_of(world, "f") == ["d0"]


def test_a_copy_that_waits_for_memory_of_its_node_is_in_nobodys_way() -> None:
    world = world_of(2000, scheduling="finish-first", budget_bytes=1000)
    deploy(world, model("h", 500))
    running = world.ask("h")
    world.engine.answer_all()
    world.post(Deployed(model("f", 500, min_workers=1), BundleFacts(parked_bytes=900, peak_bytes=900)))
    deploy(world, model("g", 500))
    assert devices_of(world, "f") == []
    request = world.ask("g")
    world.engine.answer_all()
    assert devices_of(world, "g") == ["d0"]
    world.gateway.finish(running)
    world.answer(request)
    for name in "gh":
        world.post(Undeployed(FunctionId(f"{name}.default")))
    world.engine.answer_all()
    assert devices_of(world, "f") == ["d0"]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_what_is_deployed_again_while_its_last_worker_goes_is_no_devices_before_it_is_built(
    device: str,
) -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("f"))
    runs = world.ask("f")
    world.engine.answer_all()
    world.post(Undeployed(FunctionId("f.default")))
    world.deploy(model("f", version="2", device=device), built=False)
    waits = world.ask("f")
    deploy(world, model("g"))
    other = world.ask("g")
    world.gateway.finish(runs)
    while others := [c.id for c in world.engine.pending.values() if not isinstance(c, Build)]:
        world.engine.succeed(others[0])
    assert other in world.gateway.running, "nobody else waits for that build"
    world.gateway.finish(other)
    world.answer(waits)
    assert world.outcome(waits) == "done"


def test_a_function_that_moved_to_the_cpu_is_no_more_loaded_ahead_and_others_are() -> None:
    world = world_of(1000, 1000, scheduling="finish-first")
    deploy(world, model("f"), model("g"))
    for name in "fgfg":
        world.answer(world.ask(name))
    deploy(world, model("f", version="2", device="cpu"))
    world.answer(world.ask("f"))
    for _ in range(3):
        world.engine.answer_all()
        world.advance(2.0)
        world.answer(world.ask("g"))
    assert devices_of(world, "g") == ["d0", "d1"]


def test_what_was_sent_down_by_hand_is_not_loaded_ahead() -> None:
    world = world_of(1000, 1000, scheduling="finish-first")
    deploy(world, model("f"), model("g", max_workers=1))
    for name in "fgfg":
        world.answer(world.ask(name))
    world.post(DescendRequested(FunctionId("f.default"), Step.IMPORTED))
    for _ in range(3):
        world.engine.answer_all()
        world.advance(2.0)
        world.answer(world.ask("g"))
    assert devices_of(world, "f") == []
    world.answer(world.ask("f"))
    assert devices_of(world, "f") != []


@pytest.mark.parametrize(("preload", "copies"), [("auto", 2), ("never", 1)])
def test_what_is_never_to_be_loaded_ahead_is_not_copied_to_free_memory(preload: str, copies: int) -> None:
    world = world_of(1000, 1000, scheduling="finish-first")
    deploy(world, model("f", preload=preload))
    for _ in range(6):
        world.answer(world.ask("f"))
        world.advance(2.0)
        world.engine.answer_all()
    assert len(devices_of(world, "f")) == copies


@pytest.mark.parametrize("scheduling", sorted(POLICIES["scheduling"]))
def test_what_is_always_to_be_loaded_comes_to_free_memory_and_makes_room_for_requests(
    scheduling: str,
) -> None:
    world = world_of(1000, scheduling=scheduling)
    deploy(world, model("f", preload="always"), model("g"))
    world.engine.answer_all()
    assert devices_of(world, "f") == ["d0"]
    world.answer(world.ask("g"))
    world.advance(30.0)
    world.engine.answer_all()
    assert (devices_of(world, "f"), devices_of(world, "g")) == ([], ["d0"]), "nothing is evicted for it"
    world.post(Undeployed(FunctionId("g.default")))
    world.engine.answer_all()
    assert devices_of(world, "f") == ["d0"]


def test_what_is_always_to_be_loaded_stays_down_where_an_operator_sent_it() -> None:
    world = world_of(1000, scheduling="finish-first")
    deploy(world, model("f", preload="always"))
    world.engine.answer_all()
    world.post(DescendRequested(FunctionId("f.default"), Step.IMPORTED))
    world.engine.answer_all()
    world.advance(30.0)
    assert devices_of(world, "f") == []


def test_what_is_always_to_be_loaded_comes_after_what_requests_wait_for() -> None:
    world = world_of(3000, scheduling="finish-first")
    deploy(world, model("x", 2000), model("a", 2000, preload="always"), model("c", 2000))
    world.answer(world.ask("x"))
    request = world.ask("c")
    world.post(Undeployed(FunctionId("x.default")))
    assert devices_of(world, "a") == []
    world.answer(request)
    assert devices_of(world, "c") == ["d0"]


def test_a_model_that_is_at_work_does_not_shut_a_device_that_computes_two_at_once() -> None:
    world = world_of(scheduling="finish-first")
    world.post(DeviceJoined(NODE, DeviceSpec(DeviceId("d0"), 3000, 2)))
    deploy(world, model("f", max_workers=1), model("g"))
    for name in "fg":
        world.answer(world.ask(name))
    first, *_ = [world.ask("f") for _ in range(3)]
    other = world.ask("g")
    assert set(world.gateway.running) == {first, other}


@pytest.mark.parametrize("scheduling", sorted(POLICIES["scheduling"]))
def test_no_more_models_compute_on_a_device_than_it_says(scheduling: str) -> None:
    """The published schedulers send one at a time."""
    world = world_of(scheduling=scheduling)
    world.post(DeviceJoined(NODE, DeviceSpec(DeviceId("d0"), 3000, 2)))
    deploy(world, model("f"), model("g"), model("h"))
    for name in "fgh":
        world.answer(world.ask(name))
    requests = [world.ask(name) for name in "fgh"]
    assert len(world.gateway.running) <= 2
    if scheduling in ("finish-first", "start-estimate"):
        assert set(world.gateway.running) == set(requests[:2])
    for _ in requests:
        for request in list(world.gateway.running):
            world.gateway.finish(request)
    assert [world.outcome(request) for request in requests] == ["done"] * 3


def test_who_cannot_load_for_now_keeps_nobody_from_its_nodes_memory() -> None:
    """`f` is the first that waits for memory when its device is paused for another's failed load."""
    world = world_of(2000, scheduling="start-estimate", budget_bytes=350)
    deploy(world, model("g", 500), model("f", 500), spec("cpu"), spec("other"))
    world.ask("other")
    world.engine.answer_all()
    world.ask("g")
    world.ask("f")
    (load,) = loads(world)
    assert list(world.state.nodes[NODE].starved) == ["f.default"]
    world.engine.fail(load.id, "device_failed", "the copy failed")
    assert world.state.context.store.fleet.devices[DeviceId("d0")].paused_until_s > world.clock.now_s
    served = world.ask("cpu")
    world.answer(served)
    assert world.outcome(served) == "done"
    world.advance(10.0)
    world.engine.answer_all()
    assert devices_of(world, "f") or devices_of(world, "g"), "when the pause is over they load"


@pytest.mark.parametrize("declared", [{"min_workers": 1}, {"preload": "always"}], ids=str)
def test_what_is_to_lie_on_a_device_comes_when_its_node_has_memory_again(declared: dict[str, Any]) -> None:
    world = world_of(5000, scheduling="finish-first")
    world.post(PressureChanged(NODE, 150))
    deploy(world, model("f", **declared))
    world.engine.answer_all()
    assert not devices_of(world, "f")
    world.post(PressureChanged(NODE, 10_000))
    world.engine.answer_all()
    world.advance(10.0)
    world.engine.answer_all()
    assert devices_of(world, "f")
