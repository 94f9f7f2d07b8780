"""instainfer: as tyche, but each node by itself, for the functions that it has served.

Source: InstaInfer (SoCC 2024), as Tyche (IEEE TPDS 37(2), 2026) describes it: a node sees its own sandboxes
and nobody else's, so a function is loaded where it ran last or nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Decision, Drop, PreloadView, SandboxView
from glowplug.policy.preload.tyche import fill
from glowplug.policy.preload.windows import Windows


class InstaInfer(msgspec.Struct):
    """One set of windows a node; `served_at` is where each function ran last."""

    foresees: bool = True
    ends_unused: bool = False
    by_node: dict[NodeId, Windows] = {}
    served_at: dict[FunctionId, NodeId] = {}

    def introduced(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        return

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        node = view.served_at(function)
        if node is None:
            return
        before = self.served_at.get(function)
        if before is not None and before != node:
            self.by_node[before].forget(function)
        self.served_at[function] = node
        self.by_node.setdefault(node, Windows()).arrived(view, function, now_s)

    def next_s(self) -> float:
        return min((windows.next_s() for windows in self.by_node.values()), default=float("inf"))

    def decide(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        for node, windows in self.by_node.items():
            for function in windows.turn_over(now_s):
                for number in view.idle(function):
                    if view.is_guest(number):
                        yield Drop(number)
            yield from fill(view, windows, node, now_s)

    def invoked(self, view: PreloadView, host: SandboxView, now_s: float) -> Iterable[InstanceId]:
        return host.guests

    def forget(self, function: FunctionId) -> None:
        node = self.served_at.pop(function, None)
        if node is not None:
            self.by_node[node].forget(function)

    def lost(self, node: NodeId) -> None:
        self.by_node.pop(node, None)
        self.served_at = {function: at for function, at in self.served_at.items() if at != node}
