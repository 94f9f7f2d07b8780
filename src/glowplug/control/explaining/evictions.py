"""What was evicted so that a function's model could be loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from glowplug.control.context import Context
from glowplug.control.explaining import places
from glowplug.core.commands import Command, Descend
from glowplug.core.explanation import Eviction
from glowplug.core.ids import DeviceId, FunctionId, InstanceId


def of(c: Context, function: FunctionId, commands: Iterable[Command], at_s: float) -> Iterator[Eviction]:
    """One for each device where these commands evict while the function's model is loaded there."""
    by_device: dict[DeviceId, list[FunctionId]] = {}
    for command in commands:
        if isinstance(command, Descend) and command.why == "evicted" and command.target.kind == "instance":
            instance = c.store.instances.get(InstanceId(int(command.target.key)))
            if instance is not None and instance.device is not None:
                by_device.setdefault(instance.device, []).append(instance.function)
    for number, functions in by_device.items():
        device = c.store.fleet.devices[number]
        if function in device.loading:
            found = places.candidates(c, device)
            gone = [found.pop(each) for each in functions if each in found]
            spared = sorted(found.values(), key=lambda each: each.score)
            yield Eviction(at_s, number, tuple(gone), tuple(spared))
