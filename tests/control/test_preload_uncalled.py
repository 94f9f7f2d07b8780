"""Functions that nobody has called yet: what ladder loads of them, and whom that leaves alone."""

from __future__ import annotations

from math import inf

from glowplug.core.commands import Climb, Descend
from glowplug.core.events import NodeJoined
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.core.specs import NodeSpec
from tests.control.ahead import call_regularly, climbs, ladder, serve
from tests.control.world import NODE, World, spec

ENVIRONMENT_BYTES, MODEL_BYTES = 110, 700


def world_for(models: int, *, node: bool = True) -> World:
    """Room for so many."""
    settings = ladder(prewarm="kept", environment_estimate_bytes=ENVIRONMENT_BYTES)
    return World(settings, budget_bytes=ENVIRONMENT_BYTES + models * MODEL_BYTES + 20, node=node)


def wait(world: World, times: int = 3) -> None:
    for _ in range(times):
        world.advance(5.0)
        world.engine.answer_all()


def test_it_is_loaded_into_free_memory_in_the_background() -> None:
    world = world_for(1)
    world.deploy(spec("new"))
    wait(world)
    assert world.standing("new") == Step.PARKED
    assert [climb.priority for climb in climbs(world, "new")] == [Priority.BACKGROUND]
    assert world.ask("new") in world.gateway.running


def test_it_displaces_nobody_however_long_they_have_been_idle() -> None:
    world = world_for(1)
    world.deploy(spec("called"))
    serve(world, "called")
    world.deploy(spec("new"))
    wait(world, 100)
    assert world.standing("called") == Step.PARKED
    assert not climbs(world, "new")


def test_a_request_has_its_memory_at_once() -> None:
    world = world_for(1)
    world.deploy(spec("new"))
    wait(world)
    world.deploy(spec("called"))
    before = len(world.commands)
    serve(world, "called")
    assert any(isinstance(command, Descend) for command in world.commands[before:])
    assert world.standing("called") == Step.PARKED


def test_that_it_gave_way_says_nothing_of_predictions() -> None:
    world = world_for(1)
    world.deploy(spec("new"))
    wait(world)
    world.deploy(spec("called"))
    serve(world, "called")
    preloads = world.state.context.store.preloads
    assert preloads.wasted == 1
    assert preloads.usage_at(NODE).share == 1.0


def test_of_those_deployed_together_the_one_that_spares_more_a_byte_comes_first() -> None:
    world = world_for(1)
    world.deploy(spec("fast"), spec("slow"))
    world.state.context.policies.costs.learn(spec("slow").version, "imported", 5.0)
    wait(world)
    assert world.standing("slow") == Step.PARKED
    assert not climbs(world, "fast")


def test_it_is_looked_at_again_where_there_was_no_room_yet() -> None:
    world = world_for(1, node=False)
    world.deploy(spec("new"))
    wait(world)
    world.post(NodeJoined(NodeSpec(NODE, ENVIRONMENT_BYTES + MODEL_BYTES + 20, 2)))
    wait(world, 10)
    assert world.standing("new") == Step.PARKED


def test_also_of_more_than_are_carried_out_at_once_the_worthiest_come_first() -> None:
    settings = ladder(environment_estimate_bytes=ENVIRONMENT_BYTES, preload_cpu_share=inf)
    world = World(settings, budget_bytes=10**6)
    world.parked(spec("called"))
    specs = [spec(f"new{number}") for number in range(150)]
    world.deploy(*specs)
    for number, each in enumerate(specs):
        world.state.context.policies.costs.learn(each.version, "imported", 1.0 + number)
    before = len(world.commands)
    world.advance(settings.preload_horizon_s + 0.1)
    begun = [
        command.spec.version
        for command in world.commands[before:]
        if isinstance(command, Climb) and command.target.kind == "instance"
    ]
    assert begun == [each.version for each in reversed(specs)]


def test_where_the_settings_say_so_the_first_call_loads() -> None:
    settings = ladder(prewarm="kept", environment_estimate_bytes=ENVIRONMENT_BYTES, preload_uncalled=False)
    world = World(settings, budget_bytes=10**6)
    world.deploy(spec("new"), spec("called"))
    call_regularly(world, "called", 8)
    assert not climbs(world, "new")
    assert [climb.priority for climb in climbs(world, "called")].count(Priority.BACKGROUND) == 0, "it stays"
    request = world.ask("new")
    world.answer(request)
    assert world.standing("new") == Step.PARKED


def test_what_was_called_is_loaded_ahead_also_where_nothing_else_is() -> None:
    settings = ladder(prewarm="fixed", environment_estimate_bytes=ENVIRONMENT_BYTES, preload_uncalled=False)
    world = World(settings, budget_bytes=10**6)
    world.deploy(spec("called", keep_warm_s=1.0))
    call_regularly(world, "called", 8)
    assert Priority.BACKGROUND in [climb.priority for climb in climbs(world, "called")]
