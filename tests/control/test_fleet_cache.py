from __future__ import annotations

import pytest

from glowplug.control.records import key_of
from glowplug.core.commands import Climb
from glowplug.core.events import DeviceJoined, PressureChanged
from glowplug.core.ids import DeviceId, FunctionId, VersionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import DeviceSpec, FunctionSpec
from tests.control.world import NODE, World, kinds, spec

CONTROL = ControlSettings(
    environment_estimate_bytes=100,
    reserve_margin_bytes=0,
    reserve_factor=1.0,
    scheduling="lb",
    eager_stage=False,
)
"""An instance takes 190 of its node, its weights 500 (world.FACTS) and 1000 of its device."""
ON_DEVICE = {"device": "gpu", "device_memory_bytes": 1000, "max_workers": 9}


def model(name: str) -> FunctionSpec:
    return spec(name, **ON_DEVICE)


def world_of(budget_bytes: int, *capacities: int) -> World:
    world = World(CONTROL, budget_bytes)
    for number, capacity_bytes in enumerate(capacities):
        world.post(DeviceJoined(NODE, DeviceSpec(DeviceId(f"d{number}"), capacity_bytes)))
    return world


def serve(world: World, name: str) -> Climb | None:
    """Asks and answers; returns the load that this took, if any."""
    count = len(world.commands)
    request = world.ask(name)
    world.engine.answer_all()
    world.gateway.finish(request)
    loads = [c for c in world.commands[count:] if isinstance(c, Climb) and c.device is not None]
    return loads[0] if loads else None


def cached(world: World, name: str) -> bool:
    return NODE in world.state.context.store.versions[VersionId(f"{name}-v1")].cached_on


def load_s(world: World, name: str) -> float:
    """What policies are told that the next load would take."""
    view = world.state.context.fleet_view
    assert view is not None
    return view.load_s(FunctionId(f"{name}.default"), DeviceId("d0"))


def test_after_a_load_the_weights_stay_and_the_next_load_is_a_copy() -> None:
    world = world_of(10_000, 1000)
    world.deploy(model("a"), model("b"))
    first, other, again = serve(world, "a"), serve(world, "b"), serve(world, "a")
    assert [load is not None and load.cached for load in (first, other, again)] == [False, False, True]
    assert cached(world, "a")


def test_a_load_on_another_device_of_the_node_is_a_copy_too() -> None:
    world = world_of(10_000, 1000, 1000)
    world.deploy(model("a"))
    serve(world, "a")
    requests = [world.ask("a"), world.ask("a")]
    world.engine.answer_all()
    loads = [c for c in world.commands if isinstance(c, Climb) and c.device is not None]
    assert [load.cached for load in loads] == [False, True]
    for request in requests:
        world.gateway.finish(request)


def test_a_copy_and_a_read_are_learned_apart() -> None:
    world = world_of(10_000, 1000)
    world.deploy(model("a"), model("b"))
    world.engine.took_s = 4.0
    serve(world, "a")
    assert load_s(world, "a") < 1.0, "nothing was copied yet: by the bandwidth that is assumed"
    world.engine.took_s = 0.5
    for _ in range(12):
        assert serve(world, "b") is not None
        assert serve(world, "a") is not None
    assert 0.45 < load_s(world, "a") < 0.5, "the assumption fades"
    assert world.state.context.policies.costs.expect_s("a-v1", "imported") == 4.0


def test_a_model_on_a_device_does_not_hold_its_weights_in_memory() -> None:
    world = world_of(10_000, 1000)
    world.deploy(model("a"))
    serve(world, "a")
    key = key_of("weights", NODE, "a-v1")
    store = world.state.context.store
    assert key not in store.dependents
    assert key in set(world.state.context.policies.eviction.keys())
    world.post(PressureChanged(NODE, 300))
    world.engine.answer_all()
    assert not cached(world, "a")
    assert serve(world, "a") is None, "it lies on its device all the same"


def test_without_room_for_weights_loads_go_past_the_nodes_memory() -> None:
    world = world_of(400, 1000, 1000)
    world.deploy(model("a"))
    assert serve(world, "a") is not None
    assert key_of("weights", NODE, "a-v1") not in world.state.context.store.holdings


def test_what_is_asked_for_less_goes_first_and_the_new_is_kept_when_its_load_has_ended() -> None:
    """100 of the environment, 190 of each of two workers, 500 of one model's weights."""
    world = world_of(1000, 1000)
    world.deploy(model("rare"), model("often"))
    serve(world, "rare")
    assert cached(world, "rare")
    for _ in range(5):
        serve(world, "often")
    assert (cached(world, "rare"), cached(world, "often")) == (False, True)
    assert "descend weights" in kinds(world.commands)


def test_what_is_asked_for_more_stays() -> None:
    world = world_of(1000, 1000)
    world.deploy(model("rare"), model("often"))
    for _ in range(5):
        serve(world, "often")
    serve(world, "rare")
    assert (cached(world, "rare"), cached(world, "often")) == (False, True)


def test_a_load_waits_for_an_eviction_of_its_weights_and_reads_them_again() -> None:
    world = world_of(10_000, 1000)
    world.deploy(model("a"), model("b"))
    serve(world, "a")
    serve(world, "b")
    world.post(PressureChanged(NODE, 400))
    assert not cached(world, "a")
    request = world.ask("a")
    loads = [c for c in world.engine.pending.values() if isinstance(c, Climb) and c.device is not None]
    assert not loads
    world.engine.answer_all()
    assert request in world.gateway.running
    last = [c for c in world.commands if isinstance(c, Climb) and c.device is not None][-1]
    assert not last.cached


def test_validation_finds_what_was_learned_behind_the_views_back() -> None:
    world = world_of(10_000, 1000)
    world.deploy(model("a"))
    serve(world, "a")
    load_s(world, "a")
    world.state.validate()
    world.state.context.policies.costs.learn("a-v1", "run", 60.0)
    with pytest.raises(AssertionError, match=r"a\.default"):
        world.state.validate()
