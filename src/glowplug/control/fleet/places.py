"""What lies on which device, and what may be evicted there."""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.fleet import queues
from glowplug.control.fleet.records import Device
from glowplug.control.records import Instance
from glowplug.control.worth import worth_on_device
from glowplug.core.ids import DeviceId, FunctionId, NodeId

LONGEST_PAUSE_S = 60.0
_FIRST_PAUSE_S = 0.5
_MOST_REOFFERED = 16
_DEVICES_FAULTS = ("device_failed", "device_full")


def changed(c: Context, device: Device) -> None:
    """Keeps the indexes of devices that have little to do; whatever changed may change what is best."""
    fleet, number = c.store.fleet, device.id
    free, half_free = leisure(device)
    if free:
        fleet.free.setdefault(number, None)
    else:
        fleet.free.pop(number, None)
    if half_free:
        fleet.half_free.setdefault(number, None)
    else:
        fleet.half_free.pop(number, None)
    if not device.line and len(device.running) < device.at_once:
        fleet.open.setdefault(number, None)
        if fleet.waiting_by_function:
            for function in filter(fleet.waiting_by_function.__contains__, device.residents):
                fleet.ready[function] = None
    elif number in fleet.open:
        del fleet.open[number]
        if fleet.ready:
            for function in [*filter(fleet.ready.__contains__, device.residents)]:
                queues.look_again(fleet, function)
    if device.line:
        c.moved[number] = None
    c.fleet_check = True


def leisure(device: Device) -> tuple[bool, bool]:
    """Whether it is free, and whether it is half free."""
    if device.paused_until_s:
        return False, False
    if not device.running and not device.loading:
        return not device.line, False
    one_of_them = not (device.running and device.loading)
    return False, one_of_them and len(device.line) <= len(device.loading) <= 1


def expect(c: Context, device: Device, function: FunctionId) -> None:
    """The function's model is wanted there; it has no instance yet."""
    device.loading[function] = None
    places = c.store.fleet.where.setdefault(function, {})
    c.store.fleet.tally.placed(function, len(places), c.now_s)
    places[device.id] = None
    c.reweigh()
    _reoffer(c, function)
    changed(c, device)


def give_up(c: Context, device: Device, function: FunctionId) -> None:
    """A load that was wanted and has not begun is wanted no more, there and now."""
    device.loading.pop(function, None)
    c.store.fleet.short[function] = None
    _unlist(c, device, function)
    changed(c, device)


def more_room(c: Context) -> None:
    """What could not be loaded before may find a place now."""
    short = c.store.fleet.short
    for function in short:
        c.touch(function)
    short.clear()


def reindexed(c: Context, instance: Instance) -> None:
    """The instance's state changed: it lies there, or comes, or goes, or is at work."""
    device = device_of(c, instance)
    if device is None:
        return
    function, slot = instance.function, instance.slot
    if not slot:
        withdraw(c, device, instance)
    elif slot == "idle":
        if device.residents.get(function) == instance.id:
            # What it had to do is done, and was told of when it was unbound.
            return
        if device.loading.get(function) == instance.id:
            del device.loading[function]
            device.misses, device.missed = 0, None
        device.residents[function] = instance.id
    else:
        c.policies.device_eviction.withdraw(instance.key)
    changed(c, device)


def withdraw(c: Context, device: Device, instance: Instance) -> None:
    c.policies.device_eviction.withdraw(instance.key)
    for index in (device.residents, device.loading):
        if index.get(instance.function) == instance.id:
            del index[instance.function]
    queues.look_again(c.store.fleet, instance.function)
    device.running.pop(instance.id, None)
    _unlist(c, device, instance.function)


def offer(c: Context, device: Device, function: FunctionId) -> None:
    """Offers the function's model for eviction if it is idle there and nothing in the line needs it."""
    number = device.residents.get(function)
    if number is None:
        return
    instance = c.store.instances[number]
    if instance.slot != "idle" or function in device.pinned:
        c.policies.device_eviction.withdraw(instance.key)
    else:
        c.policies.device_eviction.offer(instance.key, device.id, worth_on_device(c, instance))


def reoffer(c: Context, function: FunctionId, node: NodeId) -> None:
    """Whether its next load there is a copy has changed, and with it what its model on devices is worth."""
    for number in c.store.fleet.where.get(function, ()):
        device = c.store.fleet.devices[number]
        if device.node == node:
            offer(c, device, function)


def failed(c: Context, device: Device, function: FunctionId, code: str) -> None:
    """A load failed: the device takes no new load for a while, and longer with each failure. If one
    function fails again and again, only its first failure counts, because other functions wait for the
    device, too. A fault of the device always counts.
    """
    if code in _DEVICES_FAULTS or function != device.missed:
        device.misses += 1
    device.missed = function
    pause_s = min(LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(device.misses - 1, 10))
    device.paused_until_s = c.now_s + pause_s
    c.set_timer(f"device:{device.id}", device.paused_until_s)
    changed(c, device)


def device_of(c: Context, instance: Instance) -> Device | None:
    return None if instance.device is None else c.store.fleet.devices.get(instance.device)


def _unlist(c: Context, device: Device, function: FunctionId) -> None:
    if function in device.residents or function in device.loading:
        return
    where = c.store.fleet.where
    places: dict[DeviceId, None] | None = where.get(function)
    if places is not None and device.id in places:
        c.store.fleet.tally.placed(function, len(places), c.now_s)
        del places[device.id]
        if not places:
            del where[function]
        c.reweigh()
        _reoffer(c, function)


def _reoffer(c: Context, function: FunctionId) -> None:
    """A copy's worth depends on how many copies there are; with very many, one more makes no difference."""
    fleet = c.store.fleet
    places = fleet.where.get(function, ())
    if 1 <= len(places) <= _MOST_REOFFERED:
        for number in places:
            offer(c, fleet.devices[number], function)
