"""What goes wrong with devices, at a time of a scenario. The controller hears of it by the events it would
hear live."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from glowplug.core.events import DeviceJoined, DeviceLost, Event
from glowplug.core.ids import DeviceId, NodeId
from glowplug.core.specs import DeviceSpec
from glowplug.sim.engine import SimEngine

Emit = Callable[[Event], None]


class LoadsFail(msgspec.Struct, frozen=True):
    """The next `count` loads to the device fail when they should end."""

    device: DeviceId
    count: int = 1

    def strike(self, engine: SimEngine, emit: Emit) -> None:
        engine.fail_loads(self.device, self.count)


class Slows(msgspec.Struct, frozen=True):
    """From now on what begins on the device takes `factor` times as long. 1 ends it."""

    device: DeviceId
    factor: float = 10.0

    def strike(self, engine: SimEngine, emit: Emit) -> None:
        engine.slow(self.device, self.factor)


class LosesMemory(msgspec.Struct, frozen=True):
    """The device is reset: whatever ran there ends, and it is back at once, empty."""

    node: NodeId
    spec: DeviceSpec

    def strike(self, engine: SimEngine, emit: Emit) -> None:
        engine.lose(self.spec.device)
        emit(DeviceLost(self.spec.device, "its memory was lost"))
        emit(DeviceJoined(self.node, self.spec))


class Disappears(msgspec.Struct, frozen=True):
    """The device is gone, whatever ran there with it."""

    device: DeviceId

    def strike(self, engine: SimEngine, emit: Emit) -> None:
        engine.lose(self.device)
        emit(DeviceLost(self.device, "it fell off the bus"))


Fault = LoadsFail | Slows | LosesMemory | Disappears
