"""What is remembered of pre-loads: which are unused yet, and what became of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Raise

if TYPE_CHECKING:
    from glowplug.control.records import Instance


class Unused(msgspec.Struct):
    """A pre-loaded instance that no request has used: since when, and how much it holds."""

    since_s: float
    held_bytes: int


class Preloads(msgspec.Struct):
    """`wasted_byte_s` sums bytes x seconds of pre-loads that ended unused. `wanted` climbs wait for room."""

    unused: dict[InstanceId, Unused] = {}
    wanted: dict[FunctionId, Raise] = {}
    served_at: dict[FunctionId, NodeId] = {}
    """Where each function's last request was sent."""
    started: int = 0
    used: int = 0
    wasted: int = 0
    wasted_byte_s: float = 0.0
    seconds: float = 0.0
    """Of climbing, which is about what it took of a processor."""

    def note_started(self, instance: Instance, held_bytes: int, now_s: float) -> None:
        self.started += 1
        self.unused[instance.id] = Unused(now_s, held_bytes)

    def note_loaded(self, instance: InstanceId, took_s: float) -> None:
        if instance in self.unused:
            self.seconds += took_s

    def note_used(self, instance: InstanceId) -> None:
        if self.unused.pop(instance, None) is not None:
            self.used += 1

    def note_unused(self, instance: Instance, now_s: float) -> None:
        """It ends, or is about to."""
        record = self.unused.pop(instance.id, None)
        if record is not None:
            self.wasted += 1
            self.wasted_byte_s += record.held_bytes * (now_s - record.since_s)
