"""Devices come and go."""

from __future__ import annotations

from glowplug.control import instances
from glowplug.control.context import Context
from glowplug.control.fleet import lines, loads, places
from glowplug.control.fleet.records import Device
from glowplug.core.events import ContextWaits, DeviceJoined, DeviceLost
from glowplug.core.ids import DeviceId, NodeId
from glowplug.core.specs import DeviceSpec


def on_joined(c: Context, event: DeviceJoined) -> None:
    if event.node in c.store.nodes:
        join(c, event.node, event.spec)


def on_lost(c: Context, event: DeviceLost) -> None:
    leave(c, event.device, event.why or "it was lost")


def on_context(c: Context, event: ContextWaits) -> None:
    """It is held already, whatever the budget says, and counts as long as the device is there: when a worker
    takes the process, which counts for itself then, another is made."""
    device, ledger = c.store.fleet.devices.get(event.device), c.store.ledger
    if device is None:
        return
    if not device.context_key:
        device.context_key = f"context/{device.id}"
        ledger.record(device.context_key, device.node, 0)
    c.store.nodes[device.node].context_bytes += event.held_bytes - ledger.held_bytes(device.context_key)
    ledger.resize(device.context_key, event.held_bytes)
    c.freed[device.node] = None


def join(c: Context, node: NodeId, spec: DeviceSpec) -> None:
    """A device that joins again has lost what it held."""
    leave(c, spec.device, "it joined again")
    fleet = c.store.fleet
    device = Device(id=spec.device, node=node, at_once=spec.at_once, context_bytes=spec.context_bytes)
    fleet.devices[device.id] = device
    fleet.ledger.open(device.id, spec.capacity_bytes)
    fleet.free[device.id] = fleet.open[device.id] = None
    if c.fleet_view is not None:
        c.fleet_view.add(device)
    for number in c.store.stranded:
        c.touch(number)
    places.more_room(c)
    c.fleet_check = True


def leave(c: Context, number: DeviceId, why: str) -> None:
    """Requests that ran there are told; those that waited there wait for another device. No error if it is
    unknown."""
    fleet = c.store.fleet
    device = fleet.devices.get(number)
    if device is None:
        return
    for function in list(device.pinned):
        lines.recall(c, device, function, retried=False)
    for instance in [each for each in c.store.instances.values() if each.device == number]:
        instance.draining = True
        instances.end(c, instance, "worker_died", f"device {number}: {why}", permanent=False)
    for function in list(device.loading):
        places.give_up(c, device, function)
        record = c.store.functions.get(function)
        if record is not None:
            loads.leave_memory(c, device, record)
        c.touch(function)
    if device.context_key:
        c.store.nodes[device.node].context_bytes -= c.store.ledger.held_bytes(device.context_key)
        c.store.ledger.release(device.context_key)
        c.freed[device.node] = None
    del fleet.devices[number]
    fleet.free.pop(number, None)
    fleet.open.pop(number, None)
    fleet.half_free.pop(number, None)
    fleet.stalled.pop(number, None)
    fleet.ledger.close(number)
    c.policies.device_eviction.forget(number)
    for function in fleet.waiting_by_function:
        c.touch(function)
    c.clear_timer(f"device:{number}")
    if c.fleet_view is not None:
        c.fleet_view.remove(number)
    c.fleet_check = True


def on_timer(c: Context, number: DeviceId) -> None:
    """A pause after a load that failed is over."""
    device = c.store.fleet.devices.get(number)
    if device is not None:
        device.paused_until_s = 0.0
        places.changed(c, device)
        places.more_room(c)
