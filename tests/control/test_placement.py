"""Where a worker climbs, among nodes that differ in what stands there."""

from __future__ import annotations

import msgspec
import pytest

from glowplug.control import growth, placement
from glowplug.core.commands import Build, Climb, Command, Descend, SetTimer, Target
from glowplug.core.events import Deployed, NodeJoined, PressureChanged
from glowplug.core.ids import NodeId
from glowplug.core.specs import NodeSpec
from tests.control.world import FACTS, NODE, World, spec

OTHER, THIRD = NodeId("there"), NodeId("far")


@pytest.mark.parametrize(("environment_s", "where"), [(1.0, NODE), (0.0, OTHER)])
def test_an_environment_draws_workers_to_its_node_if_it_takes_time_to_make(
    environment_s: float, where: NodeId
) -> None:
    """Where it takes none they go where most memory is free: else one node would evict beside empty ones."""
    world = World()
    world.parked(spec("first"))
    world.post(NodeJoined(NodeSpec(OTHER, 20_000, 2)))
    world.deploy(spec("second"))
    c = world.state.context
    version = c.store.versions[spec("second").version]
    c.policies.costs.seconds[version.spec.environment_key] = {"environment": environment_s}
    chosen = placement.choose(c, version, 0)
    assert chosen is not None
    assert chosen.id == where


def test_a_node_that_is_too_small_for_it_is_no_place_for_a_worker() -> None:
    """The large node is full, and has less free than the small one has in all."""
    world = World(budget_bytes=2000)
    world.deploy(spec("first"))
    first = world.ask("first")
    world.engine.answer_all()
    large = msgspec.structs.replace(FACTS, parked_bytes=1200, peak_bytes=1200)
    world.post(Deployed(spec("large"), large))
    world.post(NodeJoined(NodeSpec(OTHER, 1750, 2)))
    second = world.ask("large")
    assert world.outcome(second) is None, "it waits for the large one"
    world.gateway.finish(first)
    world.answer(second)
    assert world.outcome(second) == "done"


def test_nor_for_a_build_even_where_its_environment_stands() -> None:
    world = World(budget_bytes=1800)
    world.parked(spec("first"))
    world.post(NodeJoined(NodeSpec(OTHER, 9000, 2)))
    world.deploy(spec("large", memory_bytes=2000), built=False)
    world.engine.answer_all()
    (build,) = [c for c in world.commands if isinstance(c, Build)]
    assert build.node == OTHER


def test_what_is_too_large_for_its_homes_finds_the_one_node_that_has_room() -> None:
    world = World(budget_bytes=1800)
    world.parked(spec("first"))
    for number in range(30):
        world.post(NodeJoined(NodeSpec(NodeId(f"n{number}"), 9000 if number == 17 else 1800, 2)))
    world.post(Deployed(spec("large"), msgspec.structs.replace(FACTS, peak_bytes=2000)))
    request = world.ask("large")
    world.answer(request)
    assert world.outcome(request) == "done"


def _full_world(*others: NodeSpec) -> World:
    """Two models fill the node where the environment stands; the others are empty."""
    world = World(budget_bytes=1800)
    world.parked(spec("first"))
    world.parked(spec("second"))
    for other in others:
        world.post(NodeJoined(other))
    world.deploy(*map(spec, ("third", "fourth", "fifth")))
    return world


def _environments(commands: list[Command]) -> list[str]:
    return [c.target.node for c in commands if isinstance(c, Climb) and c.target.kind == "environment"]


def _evicted(commands: list[Command]) -> list[str]:
    return [c.target.node for c in commands if isinstance(c, Descend)]


def _give_memory_back(world: World) -> None:
    """While what climbs goes on climbing."""
    pending = world.engine.pending
    while descents := [command.id for command in pending.values() if isinstance(command, Descend)]:
        world.engine.succeed(descents[0])


def test_who_displaces_others_opens_a_node_that_has_room() -> None:
    """The request goes where the environment stands; the next one finds it at the empty node too."""
    world = _full_world(NodeSpec(OTHER, 1800, 2))
    before = len(world.commands)
    third = world.ask("third")
    _give_memory_back(world)
    assert _evicted(world.commands[before:])
    assert _environments(world.commands[before:]) == [OTHER]
    assert {i.node for i in world.state.context.store.instances.values()} == {NODE}
    world.answer(third)
    before = len(world.commands)
    fourth = world.ask("fourth")
    world.answer(fourth)
    assert world.outcome(fourth) == "done"
    assert not _evicted(world.commands[before:])
    assert OTHER in {i.node for i in world.state.context.store.instances.values()}


def test_nobody_waits_for_an_environment_that_climbs_beside_one_that_is_up() -> None:
    world = _full_world(NodeSpec(OTHER, 1800, 2))
    world.ask("third")
    world.ask("fourth")
    _give_memory_back(world)
    instances = world.state.context.store.instances.values()
    assert [(i.function.partition(".")[0], i.node) for i in instances] == [("third", NODE), ("fourth", NODE)]


def test_a_node_without_room_for_the_environment_and_the_worker_is_not_opened() -> None:
    world = _full_world(NodeSpec(OTHER, 800, 2))
    before = len(world.commands)
    world.answer(world.ask("third"))
    assert _evicted(world.commands[before:])
    assert not _environments(world.commands[before:])


def test_nodes_are_opened_one_at_a_time() -> None:
    """What comes of one is seen first: a burst does not make environments everywhere."""
    world = _full_world(NodeSpec(OTHER, 1800, 2), NodeSpec(THIRD, 1800, 2))
    before = len(world.commands)
    for name in ("third", "fourth", "fifth"):
        world.ask(name)
    assert len(_environments(world.commands[before:])) == 1


def _left_behind(*others: NodeId) -> World:
    """Of `first` nothing is left but its weights, at the first node; the others are as empty as can be beside
    the environment."""
    world = World(budget_bytes=3000)
    number = world.parked(spec("first"))
    world.engine.exit(Target("instance", NODE, str(number)))
    for other in others:
        world.post(NodeJoined(NodeSpec(other, 30_000, 2)))
    c, version = world.state.context, world.state.context.store.versions[spec("first").version]
    for other in others:
        function = c.store.functions[spec("first").function]
        growth.ensure_environment(c, c.store.nodes[other], function, version)
    for command in c.out:
        if isinstance(command, SetTimer):
            world.timers[command.key] = command.at_s
        else:
            world.engine.submit(command)
    c.out.clear()
    world.engine.answer_all()
    assert len(c.store.environments[version.spec.environment_key]) == 1 + len(others)
    return world


def test_weights_that_lie_in_memory_draw_workers_to_their_node() -> None:
    """Elsewhere is more room, and they would have to be read again, and held twice."""
    world = _left_behind(OTHER)
    before = len(world.commands)
    world.ask("first")
    (climb,) = [c for c in world.commands[before:] if isinstance(c, Climb)]
    assert (climb.target.node, climb.cached) == (NODE, True)


def test_weights_are_found_among_many_nodes() -> None:
    """Also where the function's homes are others, and the turn is at others."""
    world = _left_behind(*(NodeId(f"n{number}") for number in range(30)))
    c = world.state.context
    version = c.store.versions[spec("first").version]
    environments = c.store.environments[version.spec.environment_key]
    environments[NODE] = environments.pop(NODE)  # not among the first that are looked at
    c.store.homes[version.spec.function] = [NodeId(f"n{number}") for number in range(4)]
    for _ in c.store.node_order:
        c.store.events += 1
        chosen = placement.choose(c, version, 0)
        assert chosen is not None
        assert chosen.id == NODE


def test_weights_that_go_draw_nobody() -> None:
    world = _left_behind(OTHER)
    world.post(PressureChanged(NODE, 300))
    c = world.state.context
    chosen = placement.choose(c, c.store.versions[spec("first").version], 0)
    assert chosen is not None
    assert chosen.id == OTHER
