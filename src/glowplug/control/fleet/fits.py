"""What fits on which device: now, by evicting, once there is room, or never."""

from __future__ import annotations

from functools import partial

from glowplug.control import offers
from glowplug.control.context import Context
from glowplug.control.fleet.records import Device
from glowplug.control.records import Function, Version
from glowplug.control.sizes import (
    device_bytes,
    instance_bytes,
    model_bytes,
    too_big,
    too_large,
    weight_bytes,
)
from glowplug.control.worth import device_score_now
from glowplug.core.ladder import Step


def suits(c: Context, device: Device, version: Version) -> bool:
    """Whether the model could ever lie there."""
    return _suits(c, device, version, model_bytes(version))


def _suits(c: Context, device: Device, version: Version, own_bytes: int) -> bool:
    need_bytes = own_bytes + device.context_bytes
    return need_bytes <= c.store.fleet.ledger.budget[device.id] and device.node not in version.unfit_on


def may_lie(c: Context, device: Device, function: Function) -> bool:
    """Whether the model lies there, or could once there is room, and may have one more copy."""
    where = c.store.fleet.where.get(function.id, {})
    if device.id in where:
        return True
    version = version_on_devices(c, function)
    if version is None or len(where) >= version.spec.declaration.max_workers:
        return False
    return suits(c, device, version)


def hopeless(c: Context, version: Version) -> str | None:
    """Why the model fits on no device that exists; None if it fits on one."""
    devices, words = c.store.fleet.devices.values(), ""
    for node in list(version.unfit_on):
        still = too_big(c, version, node, instance_bytes(c, version)) if node in c.store.nodes else None
        if still is None:
            del version.unfit_on[node]
        words = still or words
    own_bytes = model_bytes(version)
    if any(_suits(c, device, version, own_bytes) for device in devices):
        return None
    return words or too_large(
        c, version, max(devices, key=lambda device: c.store.fleet.ledger.budget[device.id])
    )


def has_room(c: Context, device: Device, version: Version) -> bool:
    """Whether there is, or could be, room for the model without what is pinned."""
    short_bytes = device_bytes(version, device) - coming_bytes(c, device)
    if short_bytes <= 0:
        return True
    eviction, current = c.policies.device_eviction, partial(device_score_now, c)
    offers.settle(c)
    victims = eviction.victims(device.id, short_bytes, (), eviction.pinned_from, current)
    return sum(map(c.store.fleet.ledger.held_bytes, victims)) >= short_bytes


def has_free_room(c: Context, device: Device, version: Version) -> bool:
    """Whether the model could come there with nothing evicted for it, neither there nor at its node."""
    node = c.store.nodes[device.node]
    if node.starved or c.store.fleet.ledger.free_bytes(device.id) < device_bytes(version, device):
        return False
    node_bytes = instance_bytes(c, version)
    if node.id not in version.cached_on:
        node_bytes += weight_bytes(version)
    return c.store.ledger.free_bytes(node.id) >= node_bytes


def coming_bytes(c: Context, device: Device) -> int:
    """Free now, or when what leaves has left."""
    ledger = c.store.fleet.ledger
    return ledger.free_bytes(device.id) + ledger.leaving[device.id]


def may_come_ahead(c: Context, function: Function) -> bool:
    """Not what declares `never`, nor what an operator sent down; until a request needs it."""
    version = version_on_devices(c, function)
    if version is None or version.spec.declaration.preload == "never":
        return False
    held_at = function.goal if function.goal is not None else function.hold
    return held_at is None or held_at >= Step.PARKED


def version_on_devices(c: Context, function: Function) -> Version | None:
    """The active version, if it is to lie on a device."""
    version = None if function.active is None else c.store.versions[function.active]
    return version if version is not None and version.on_device and not function.gone else None
