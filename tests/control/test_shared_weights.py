"""Weights that several functions have: once at a node, counted once, gone with the last of them."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from glowplug.control.loads import function_loads
from glowplug.control.state import ControlState
from glowplug.control.status import function_statuses, node_statuses
from glowplug.control.worth import score_now, worth
from glowplug.core.commands import Climb, Descend
from glowplug.core.events import Deployed, NodeJoined, RollbackRequested, ScaleRequested, Undeployed
from glowplug.core.ids import FunctionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import NodeSpec, PartFacts
from tests.control.world import FACTS, NODE, SETTINGS, World, spec

SHARING = msgspec.structs.replace(SETTINGS, shares_weights=True)
SHARED = f"weights/{NODE}/model"


def world_of(*names: str, settings: ControlSettings = SHARING, budget_bytes: int = 10_000) -> World:
    world = World(settings, budget_bytes)
    for name in names:
        world.post(Deployed(spec(name), FACTS))
    return world


def serve(world: World, name: str) -> Climb:
    """The climb of its worker."""
    count = len(world.commands)
    request = world.ask(name)
    world.answer(request)
    (climb,) = [
        each for each in world.commands[count:] if isinstance(each, Climb) and each.target.kind == "instance"
    ]
    return climb


def weights(world: World) -> dict[str, int]:
    store = world.state.context.store
    return {key: store.ledger.held_bytes(key) for key in store.holdings if key.startswith("weights/")}


def test_the_second_function_finds_what_the_first_brought() -> None:
    world = world_of("f", "g")
    assert not serve(world, "f").cached
    assert serve(world, "g").cached
    assert weights(world) == {SHARED: 500}


def test_without_sharing_each_has_its_own() -> None:
    world = world_of("f", "g", settings=SETTINGS)
    assert [serve(world, name).cached for name in ("f", "g")] == [False, False]
    assert sorted(weights(world).values()) == [500, 500]


def test_they_stay_for_whoever_is_left_and_go_with_the_last() -> None:
    world = world_of("f", "g")
    for name in ("f", "g"):
        serve(world, name)
    world.post(Undeployed(FunctionId("f.default")))
    world.engine.answer_all()
    assert weights(world) == {SHARED: 500}
    world.post(Undeployed(FunctionId("g.default")))
    world.engine.answer_all()
    assert weights(world) == {}
    assert world.state.context.store.sharers == {}


def test_they_are_worth_what_all_of_them_ask() -> None:
    """The less asked for alone would go first; together with the other they are kept."""
    world = world_of("f", "g")
    store = world.state.context.store
    worths = []
    for name in ("f", "g"):
        serve(world, name)
        world.post(ScaleRequested(FunctionId(f"{name}.default"), 0))
        worths.append(worth(world.state.context, store.holdings[SHARED]))
    alone, together = worths
    assert together.rank > alone.rank
    assert together.uses > alone.uses


def test_they_are_worth_as_much_whatever_the_time_is() -> None:
    """A server's clock counts from 1970, and ranks grow with the clock."""
    ranks = []
    for began_s in (0.0, 1.8e9):
        world = world_of()
        world.clock.now_s = began_s
        for name in ("f", "g"):
            world.post(Deployed(spec(name), FACTS))
            serve(world, name)
            world.post(ScaleRequested(FunctionId(f"{name}.default"), 0))
        context = world.state.context
        found = worth(context, context.store.holdings[SHARED])
        ranks.append(found.rank - context.policies.arrivals.rank(FunctionId("f.default")))
    assert ranks[0] > 0.1
    assert ranks[1] == pytest.approx(ranks[0], abs=1e-3)


def test_what_is_on_a_device_or_over_several_workers_shares_nothing() -> None:
    world = World(SHARING)
    world.post(Deployed(spec("f", device="gpu"), FACTS))
    world.post(Deployed(spec("g"), msgspec.structs.replace(FACTS, parts=(PartFacts("other", 100, ("b",)),))))
    assert world.state.context.store.sharers == {}


def parts(world: World) -> dict[str, tuple[int, int]]:
    """By function its part of the weights, and how many have them."""
    return {
        status.name: (each.held_bytes, each.functions)
        for status in function_statuses(world.state)
        for each in status.held
        if each.step == "local"
    }


def test_each_is_told_its_part_and_the_node_the_whole() -> None:
    world = world_of("f", "g")
    for name in ("f", "g"):
        serve(world, name)
    assert parts(world) == {"f": (250, 2), "g": (250, 2)}
    assert [load.weight_bytes for load in function_loads(world.state)] == [250, 250]
    (node,) = node_statuses(world.state)
    assert node.cached_bytes == 500
    world.post(Undeployed(FunctionId("f.default")))
    world.engine.answer_all()
    assert parts(world) == {"g": (500, 1)}


def test_a_new_version_of_the_same_weights_needs_no_more_of_them() -> None:
    world = world_of("f")
    serve(world, "f")
    world.post(Deployed(spec("f", "2"), FACTS))
    world.engine.answer_all()
    assert weights(world) == {SHARED: 500}
    assert parts(world) == {"f": (500, 1)}


def on_offer(world: World) -> list[str]:
    """The weights that may go and are not pinned, those first that go first."""
    c = world.state.context
    offers = c.policies.eviction
    found = offers.victims(NODE, 10**9, (), offers.pinned_from, partial(score_now, c))
    return [key for key in found if key.startswith("weights/")]


@pytest.mark.parametrize("settings", [SHARING, SETTINGS], ids=["shared", "own"])
def test_weights_are_pinned_while_the_version_is_active_that_asks_for_it(settings: ControlSettings) -> None:
    world, f = world_of(settings=settings), FunctionId("f.default")
    pinned = spec("f", pin=True)
    world.post(Deployed(pinned, FACTS))
    serve(world, "f")
    world.post(ScaleRequested(f, 0))
    world.engine.answer_all()
    (key,) = weights(world)
    assert on_offer(world) == []
    world.post(Deployed(spec("f", "2"), FACTS))
    assert on_offer(world) == [key]
    world.post(RollbackRequested(f, pinned.version))
    assert on_offer(world) == []


def test_weights_of_a_version_that_is_gone_back_to_are_worth_what_it_is_asked_for() -> None:
    world = world_of("f", "g", settings=SETTINGS)
    for name in ("f", "f", "f", "g"):
        world.answer(world.ask(name))
    world.post(Deployed(spec("f", "2"), FACTS))
    world.engine.answer_all()
    for name in ("f", "g"):
        world.post(ScaleRequested(FunctionId(f"{name}.default"), 0))
    world.engine.answer_all()
    f1, f2, g = (f"weights/{NODE}/{name}" for name in ("f-v1", "f-v2", "g-v1"))
    assert on_offer(world) == [f1, g, f2]
    world.post(RollbackRequested(FunctionId("f.default"), spec("f").version))
    assert on_offer(world) == [f2, g, f1]


def test_one_goes_while_another_waits_for_what_it_brings() -> None:
    world = world_of("f", "g")
    _, request = [world.ask(name) for name in ("f", "g")]
    while not any(isinstance(each, Climb) and each.target.kind == "instance" for each in world.commands):
        world.engine.succeed(next(iter(world.engine.pending)))
    world.post(Undeployed(FunctionId("f.default")))
    world.answer(request)
    assert world.outcome(request) == "done"
    assert weights(world) == {SHARED: 500}
    gone = [each for each in world.commands if isinstance(each, Descend) and each.target.kind == "weights"]
    assert gone == []


def test_what_a_build_made_before_goes_with_the_worker_that_stands_on_it() -> None:
    """Built again a version may have other weights than those that its last worker still has mapped."""
    world = world_of("f")
    request = world.ask("f")
    world.engine.answer_all()
    other = msgspec.structs.replace(FACTS, pack="other")
    world.post(Deployed(spec("f", "2"), msgspec.structs.replace(FACTS, pack="third")))
    world.engine.answer_all()
    world.post(Deployed(spec("f", "1"), other))
    assert SHARED in weights(world)
    world.answer(request)
    world.engine.answer_all()
    assert SHARED not in weights(world)


def test_a_node_that_was_lost_has_none_of_them() -> None:
    world = world_of("f", "g")
    serve(world, "f")
    world.lose_node()
    assert weights(world) == {}
    world.post(NodeJoined(NodeSpec(NODE, 10_000, 2)))
    assert not serve(world, "g").cached


def test_a_snapshot_knows_who_has_what() -> None:
    world = world_of("f", "g")
    for name in ("f", "g"):
        serve(world, name)
    again = ControlState.from_snapshot(world.state.snapshot())
    again.validate()
    assert again.context.store.sharers == {"model": {spec(name).version: None for name in ("f", "g")}}
    commands = [state.handle(Undeployed(FunctionId("f.default")), 99.0) for state in (world.state, again)]
    assert commands[0] == commands[1] != []
