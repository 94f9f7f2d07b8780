"""Where a worker climbs, among nodes that differ in what stands there."""

from __future__ import annotations

import pytest

from glowplug.control import placement
from glowplug.core.commands import Climb, Command, Descend
from glowplug.core.events import NodeJoined
from glowplug.core.ids import NodeId
from glowplug.core.specs import NodeSpec
from tests.control.world import NODE, World, spec

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
    chosen = placement.choose(c, version)
    assert chosen is not None
    assert chosen.id == where


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
