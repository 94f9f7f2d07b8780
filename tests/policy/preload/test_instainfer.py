"""InstaInfer loads a function where it ran last, also when that is another node than before."""

from __future__ import annotations

from typing import Any

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Guest
from glowplug.policy.preload.instainfer import InstaInfer
from tests.policy.preload.test_tyche import LARGE, Box, Full

HERE, THERE = NodeId("here"), NodeId("there")


class Served(Full):
    at: NodeId | None = HERE

    def sandboxes(self, node: NodeId | None = None) -> Any:
        return (box for box in self._boxes if box.node == node)

    def served_at(self, function: FunctionId) -> NodeId | None:
        return self.at

    def unused(self, function: FunctionId) -> tuple[InstanceId, ...]:
        return ()

    def climbs_ahead(self, function: FunctionId) -> bool:
        return False

    def idle(self, function: FunctionId) -> tuple[InstanceId, ...]:
        return ()


def placed(*nodes: NodeId | None) -> list[InstanceId | None]:
    """Requests come one after the other, and each is sent somewhere after the policy has heard of it."""
    here, there = Box(InstanceId(1), 100, 0, node=HERE), Box(InstanceId(2), 100, 0, node=THERE)
    view: Any = Served(here, there)
    policy = InstaInfer()
    for number, node in enumerate(nodes):
        policy.arrived(view, LARGE, 100.0 + number)
        view.at = node
    found = policy.decide(view, policy.next_s())
    return [each.host for each in found if isinstance(each, Guest)]


def test_it_loads_where_the_last_request_was_sent() -> None:
    assert placed(HERE, THERE) == [2]
    assert placed(THERE, HERE) == [1]


def test_it_loads_nowhere_when_that_node_is_gone() -> None:
    assert placed(HERE, None) == []
