"""Weights that several functions have: once at a node, counted once, gone with the last of them."""

from __future__ import annotations

import msgspec

from glowplug.control.worth import worth
from glowplug.core.commands import Climb
from glowplug.core.events import Deployed, ScaleRequested, Undeployed
from glowplug.core.ids import FunctionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import PartFacts
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


def test_what_is_on_a_device_or_over_several_workers_shares_nothing() -> None:
    world = World(SHARING)
    world.post(Deployed(spec("f", device="gpu"), FACTS))
    world.post(Deployed(spec("g"), msgspec.structs.replace(FACTS, parts=(PartFacts("other", 100, ("b",)),))))
    assert world.state.context.store.sharers == {}
