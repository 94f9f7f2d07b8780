"""Loads: a function's model on its way to a device, with all that it has to stand on."""

from __future__ import annotations

from glowplug.control import answers, growth
from glowplug.control.context import Context
from glowplug.control.estimates import device_bytes
from glowplug.control.fleet import lines, places
from glowplug.control.fleet.records import Device
from glowplug.control.records import Function, Version
from glowplug.core.errors import NoSpace
from glowplug.core.ids import FunctionId


def want(c: Context, device: Device, function: Function) -> None:
    """Brings the function's model there, now or as soon as there is room. Not an error when it is there."""
    if function.id in device.residents or function.id in device.loading:
        return
    places.expect(c, device, function.id)
    c.store.fleet.stalled[device.id] = None
    _begin_all(c, device)


def retry(c: Context) -> None:
    """Loads that wait for room, an environment or an end of a pause try again."""
    for number in list(c.store.fleet.stalled):
        device = c.store.fleet.devices.get(number)
        if device is not None:
            _begin_all(c, device)


def _begin_all(c: Context, device: Device) -> None:
    stalled = False
    for function, instance in list(device.loading.items()):
        if instance is None and not _begin(c, device, function):
            stalled = True
            break
    if not stalled:
        c.store.fleet.stalled.pop(device.id, None)


def _begin(c: Context, device: Device, number: FunctionId) -> bool:
    """False when it has to wait: those behind it then wait too, for they would take the room it needs."""
    function = c.store.functions.get(number)
    version = None if function is None or function.active is None else c.store.versions[function.active]
    if function is None or version is None or not version.on_device or function.gone:
        places.give_up(c, device, number)
        return True
    if device.paused_until_s > c.now_s:
        return False
    try:
        return growth.grow_on(c, function, version, device, urgent=number in device.pinned)
    except NoSpace as error:
        places.give_up(c, device, number)
        lines.recall(c, device, number, retried=False)
        if not any(fits(c, other, version) for other in c.store.fleet.devices.values()):
            answers.reject_queue(c, function, error.code, error.message)
        function.error = error.message
        return True


def fits(c: Context, device: Device, version: Version) -> bool:
    """Whether the model could ever lie there."""
    return device_bytes(version, device) <= c.store.fleet.ledger.budget[device.id]
