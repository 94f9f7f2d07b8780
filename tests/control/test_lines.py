"""Functions that wait for the memory of one of several nodes."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest

from glowplug.control import placement
from glowplug.core.commands import Climb
from glowplug.core.events import NodeJoined
from glowplug.core.ids import FunctionId, NodeId, RequestId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import NodeSpec
from tests.control.world import NODE, World, spec

OTHER = NodeId("there")
ROOM_FOR_ONE = 110 + 200 + 500
"""Bytes: an environment, one instance and its weights."""
SETTINGS = ControlSettings(
    environment_estimate_bytes=110, reserve_margin_bytes=10, reserve_factor=1.0, eager_stage=False
)


def two_nodes(names: str = "", room_bytes: int = ROOM_FOR_ONE) -> tuple[World, dict[NodeId, RequestId]]:
    """`x` and `y` run on a node each, which have no room for more; `names` are deployed, too."""
    world = World(SETTINGS, room_bytes)
    world.post(NodeJoined(NodeSpec(OTHER, room_bytes, 2)))
    world.deploy(*map(spec, ("x", "y", *names)))
    running = {}
    for name in "xy":
        request = world.ask(name)
        world.engine.answer_all()
        running[node_of(world, name)] = request
    assert set(running) == {NODE, OTHER}
    return world, running


def node_of(world: World, name: str) -> NodeId:
    (found,) = [
        each.node for each in world.state.context.store.instances.values() if each.function.startswith(name)
    ]
    return found


def line(world: World, node: NodeId) -> list[str]:
    return [name.partition(".")[0] for name in world.state.nodes[node].starved]


def in_line(world: World, name: str) -> NodeId:
    (found,) = [node for node in world.state.nodes if name in line(world, node)]
    return found


def elsewhere(node: NodeId) -> NodeId:
    return OTHER if node == NODE else NODE


def test_who_waits_at_one_node_takes_the_room_of_another_that_nobody_waits_for() -> None:
    world, running = two_nodes("f")
    request = world.ask("f")
    there = elsewhere(in_line(world, "f"))
    world.gateway.finish(running[there])
    world.answer(request)
    assert world.outcome(request) == "done"
    assert node_of(world, "f") == there


def test_a_node_that_joins_takes_who_waits_in_line_elsewhere() -> None:
    world, _ = two_nodes("f")
    request = world.ask("f")
    assert in_line(world, "f")
    world.post(NodeJoined(NodeSpec(NodeId("new"), ROOM_FOR_ONE, 2)))
    world.answer(request)
    assert world.outcome(request) == "done"
    assert node_of(world, "f") == "new"


def test_who_waits_the_longest_goes_first_wherever_it_waits() -> None:
    world, running = two_nodes("fgh")
    requests = []
    for name in "fgh":
        requests.append(world.ask(name))
        world.advance(1.0)
    world.gateway.finish(running[NODE])
    for request in requests:
        world.answer(request)
    climbs = [c.spec.declaration.name for c in world.commands if is_worker(c)]
    assert climbs == ["x", "y", "f", "g", "h"]


def is_worker(command: Any) -> bool:
    return isinstance(command, Climb) and command.target.kind == "instance"


def test_lines_keep_their_order_and_are_not_looked_through_for_each_that_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More is free at the other node, and not enough: nobody goes there to wait at its end."""
    names = [f"f{number}" for number in range(40)]
    world = World(SETTINGS, ROOM_FOR_ONE)
    world.post(NodeJoined(NodeSpec(OTHER, ROOM_FOR_ONE + 150, 2)))
    world.deploy(*map(spec, ("x", "y", *names)))
    for name in "xy":
        world.ask(name)
        world.engine.answer_all()
    requests = [world.ask(name) for name in names]
    looked: list[str] = []
    choose = placement.choose

    def counting(c: Any, version: Any, *others: Any) -> Any:
        looked.append(version.spec.function)
        return choose(c, version, *others)

    monkeypatch.setattr(placement, "choose", counting)
    waiting = {node: line(world, node) for node in (NODE, OTHER)}
    assert sorted(chain(*waiting.values())) == sorted(names)
    most = 0.0
    while world.gateway.running:
        looked.clear()
        events = len(world.events)
        world.gateway.finish(next(iter(world.gateway.running)))
        world.engine.answer_all()
        most = max(most, len(looked) / (len(world.events) - events))
    assert [world.outcome(request) for request in requests] == ["done"] * len(names)
    assert most <= 4, "functions looked at, for each event"
    begun = [c.spec.declaration.name for c in world.commands if is_worker(c)]
    for order in waiting.values():
        assert sorted(order, key=begun.index) == order


def test_room_that_was_made_for_it_is_used_though_the_node_is_none_of_its_homes() -> None:
    world, running = two_nodes("f")
    request = world.ask("f")
    where = in_line(world, "f")
    for number in range(12):
        world.post(NodeJoined(NodeSpec(NodeId(f"n{number}"), 200, 2)))
    store = world.state.context.store
    store.homes[FunctionId("f.default")] = [NodeId(f"n{number}") for number in range(4)]
    world.gateway.finish(running[where])
    world.answer(request)
    assert world.outcome(request) == "done"
    assert node_of(world, "f") == where
