"""What Tyche places where sandboxes yield, whoever carries it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Guest
from glowplug.policy.preload.tyche import fill
from glowplug.policy.preload.windows import Windows

OWNER = FunctionId("owner.default")
SMALL, LARGE = FunctionId("small.default"), FunctionId("large.default")


class Box(NamedTuple):
    id: InstanceId
    room_bytes: int
    yields_bytes: int
    owner: FunctionId | None = OWNER
    node: NodeId = NodeId("n")
    is_idle: bool = True
    guests: Iterable[InstanceId] = ()


class Full:
    """A view of sandboxes that do not change: nothing of what is decided can be carried out now."""

    def __init__(self, *boxes: Box) -> None:
        self._boxes = boxes

    def rate_per_s(self, function: FunctionId) -> float:
        return 0.001 if function == OWNER else 0.1

    def load_s(self, function: FunctionId) -> float:
        return 2.0

    def may_load(self, function: FunctionId) -> bool:
        return function != OWNER

    def ready(self, function: FunctionId) -> int:
        return int(function == OWNER)

    def namespace(self, function: FunctionId) -> str:
        return "default"

    def guest_bytes(self, function: FunctionId) -> int:
        return 60 if function == SMALL else 90

    def held_bytes(self, function: FunctionId) -> dict[NodeId, int]:
        return {}

    def sandboxes(self, node: NodeId | None = None) -> Iterator[Box]:
        return (box for box in self._boxes if node is None or box.node == node)


def placed(*boxes: Box) -> list[tuple[FunctionId, InstanceId | None]]:
    view: Any = Full(*boxes)
    windows = Windows()
    for function in (OWNER, SMALL, LARGE):
        windows.arrived(view, function, 100.0)
    windows.turn_over(101.0)
    found = fill(view, windows, windows.opened, None, 101.0)
    return [(each.function, each.host) for each in found if isinstance(each, Guest)]


class Lying(Full):
    """The weights of LARGE lie at another node, at which nothing is to be placed."""

    def held_bytes(self, function: FunctionId) -> dict[NodeId, int]:
        return {NodeId("elsewhere"): 80} if function == LARGE else {}


def test_what_lies_elsewhere_makes_nothing_smaller_here() -> None:
    """Both are worth the same, and there is room for one: the smaller."""
    view: Any = Lying(Box(InstanceId(1), 100, 0))
    windows = Windows()
    for function in (LARGE, SMALL):
        windows.arrived(view, function, 100.0)
    windows.turn_over(101.0)
    here = view._boxes[0].node
    assert [each.function for each in fill(view, windows, windows.opened, here, 101.0)] == [SMALL]


def test_the_room_of_a_model_is_had_once() -> None:
    first, second = Box(InstanceId(1), 0, 90), Box(InstanceId(2), 0, 100)
    assert placed(first, second) == [(SMALL, 1), (LARGE, 2)]
    assert placed(first) == [(SMALL, 1)]
