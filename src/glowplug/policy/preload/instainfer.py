"""instainfer: as tyche, but each node by itself, for the functions that it has served.

Source: InstaInfer (SoCC 2024), as Tyche (IEEE TPDS 37(2), 2026) describes it: a node sees its own sandboxes
and nobody else's, so a function is loaded where it ran last or nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Decision, PreloadView, SandboxView
from glowplug.policy.preload.tyche import fill, unload
from glowplug.policy.preload.windows import Windows


class InstaInfer(msgspec.Struct):
    """A function's timers follow it from node to node."""

    foresees: bool = True
    ends_unused: bool = False
    windows: Windows = msgspec.field(default_factory=Windows)

    def introduced(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        return

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        self.windows.arrived(view, function, now_s)

    def next_s(self) -> float:
        return self.windows.next_s()

    def decide(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        self.windows.turn_over(now_s)
        yield from unload(view, self.windows)
        by_node: dict[NodeId, list[FunctionId]] = {}
        for function in self.windows.opened:
            node = view.served_at(function)
            if node is not None:
                by_node.setdefault(node, []).append(function)
        for node, functions in by_node.items():
            yield from fill(view, self.windows, functions, node, now_s)

    def invoked(self, view: PreloadView, host: SandboxView, now_s: float) -> Iterable[InstanceId]:
        return host.guests

    def forget(self, function: FunctionId) -> None:
        self.windows.forget(function)

    def lost(self, node: NodeId) -> None:
        return
