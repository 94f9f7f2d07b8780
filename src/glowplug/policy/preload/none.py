"""none: nothing is loaded before it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

import msgspec

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Decision, PreloadView, SandboxView


class NoPreload(msgspec.Struct):
    foresees: bool = False
    ends_unused: bool = False

    def introduced(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        return

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        return

    def next_s(self) -> float:
        return inf

    def decide(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        return iter(())

    def invoked(self, view: PreloadView, host: SandboxView, now_s: float) -> Iterable[InstanceId]:
        return ()

    def lost(self, node: NodeId) -> None:
        return

    def forget(self, function: FunctionId) -> None:
        return
