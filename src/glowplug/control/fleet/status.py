"""What people see of devices, read from the records when somebody asks."""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.fleet.records import Device
from glowplug.control.state import ControlState
from glowplug.core.ids import InstanceId
from glowplug.core.status import DeviceStatus, ResidentStatus


def device_statuses(state: ControlState) -> list[DeviceStatus]:
    """All devices, in the order in which they joined."""
    c = state.context
    residents: dict[str, list[ResidentStatus]] = {}
    for key, entry in c.store.fleet.ledger.entries.items():
        residents.setdefault(entry.node, []).append(_resident(c, key, entry.held_bytes))
    return [
        _device_status(c, device, residents.get(device.id, [])) for device in c.store.fleet.devices.values()
    ]


def _device_status(c: Context, device: Device, residents: list[ResidentStatus]) -> DeviceStatus:
    ledger = c.store.fleet.ledger
    return DeviceStatus(
        device=device.id,
        node=device.node,
        capacity_bytes=ledger.budget[device.id],
        used_bytes=ledger.used[device.id],
        state="paused" if device.paused_until_s else "up",
        residents=tuple(residents),
        loading=tuple(function for function, instance in device.loading.items() if instance is None),
        running=sum(len(c.store.instances[number].bound) for number in device.running),
        queued=sum(len(batch.requests) for batch in device.line),
        pace=device.pace,
    )


def _resident(c: Context, key: str, held_bytes: int) -> ResidentStatus:
    holding = c.store.holdings[key]
    instance = c.store.instances[InstanceId(int(holding.target.key))]
    step = holding.phase if holding.phase != "up" else "busy" if instance.bound else "parked"
    return ResidentStatus(instance.function, instance.id, step, held_bytes)
