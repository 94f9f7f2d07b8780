"""What must hold of devices between any two events."""

from __future__ import annotations

from collections import Counter
from math import isclose

from glowplug.control.context import Context
from glowplug.control.fleet.places import leisure
from glowplug.control.fleet.records import Device
from glowplug.control.records import key_of
from glowplug.control.wants import replicas_wanted
from glowplug.core.ids import DeviceId, InstanceId


def check_fleet(c: Context) -> None:
    """Raises AssertionError naming the first invariant that does not hold."""
    fleet = c.store.fleet
    _check_ledger(c)
    for device in fleet.devices.values():
        _check_device(c, device)
    queued = [n for f in c.store.functions.values() if f.on_device for n in f.queue]
    assert sorted(queued) == sorted(fleet.waiting), "the line over all functions is wrong"
    counts = Counter(c.store.requests[number].function for number in queued)
    assert dict(counts) == fleet.waiting_by_function, "requests by function are miscounted"
    assert fleet.lined == sum(f.lined for f in c.store.functions.values()), "lined requests are miscounted"
    for instance in c.store.instances.values():
        on_device = c.version_of(instance).on_device
        assert on_device == (instance.device is not None), f"{instance.id} is not where its function computes"
    leaving = {each.function for each in c.store.instances.values() if each.draining}
    for f in c.store.functions.values():
        missing = f.on_device and replicas_wanted(c, f) > len(fleet.where.get(f.id, ()))
        # When a copy that leaves has gone its function is looked at again.
        assert not missing or f.id in fleet.short or f.id in leaving, f"{f.id} is short of copies, unnoticed"
    where: dict[str, set[str]] = {}
    for device in fleet.devices.values():
        for function in (*device.residents, *device.loading):
            where.setdefault(function, set()).add(device.id)
    assert where == {f: set(places) for f, places in fleet.where.items()}, "the index of places is wrong"
    could_run = {function for number in fleet.open for function in fleet.devices[number].residents}
    ready = could_run & fleet.waiting_by_function.keys()
    assert ready == fleet.ready.keys(), "the index of what could run is wrong"
    if c.fleet_view is not None:
        c.fleet_view.expected.check()
    for version in c.store.versions.values():
        for node in version.cached_on:
            weights = c.store.holdings.get(key_of("weights", node, version.spec.version))
            assert weights is not None, f"{version.spec.version} is cached on {node} and not held there"
            assert weights.phase == "up", f"{version.spec.version} is cached on {node}, and {weights.phase}"
    for key in c.policies.device_eviction.keys():  # noqa: SIM118
        instance = c.store.instances[InstanceId(int(c.store.holdings[key].target.key))]
        assert instance.device is not None, f"{key} is offered on a device and on none"
        assert instance.slot == "idle", f"{key} is offered on its device while {instance.slot or 'leaving'}"
        pinned = instance.function in fleet.devices[instance.device].pinned
        assert not pinned, f"{key} is offered on its device, but a line waits for it"


def _check_ledger(c: Context) -> None:
    fleet = c.store.fleet
    used: Counter[str] = Counter()
    for key, entry in fleet.ledger.entries.items():
        used[entry.node] += entry.held_bytes
        holding = c.store.holdings.get(key)
        assert holding is not None, f"{key} takes room of {entry.node}, and is not held"
        assert c.store.instances[InstanceId(int(holding.target.key))].device == entry.node
    for device, budget_bytes in fleet.ledger.budget.items():
        assert fleet.ledger.used[device] == used[device], f"the ledger of {device} is wrong"
        assert used[device] <= budget_bytes, f"{device} holds more than it has"
    assert set(fleet.ledger.budget) == set(fleet.devices), "devices and their ledger differ"


def _check_device(c: Context, device: Device) -> None:
    free, half_free = leisure(device)
    assert free == (device.id in c.store.fleet.free), f"{device.id}: free is {not free}"
    assert half_free == (device.id in c.store.fleet.half_free), f"{device.id}: half free is {not half_free}"
    may_compute = not device.line and len(device.running) < device.at_once
    assert may_compute == (device.id in c.store.fleet.open), f"{device.id}: open is {not may_compute}"
    timed = f"device:{device.id}" in c.store.timers
    assert bool(device.paused_until_s) == timed, f"{device.id}: a pause without an end"
    assert len(device.running) <= device.at_once, f"{device.id} runs more than it may"
    pinned = Counter(batch.function for batch in device.line)
    assert dict(pinned) == device.pinned, f"{device.id}: pins are wrong"
    line_s = sum(batch.run_s for batch in device.line)
    assert isclose(line_s, device.line_s, abs_tol=1e-6), f"{device.id}: its line takes {line_s} s"
    for batch in device.line:
        assert batch.requests, f"{device.id}: an empty batch"
        for number in batch.requests:
            request = c.store.requests[number]
            assert request.state == "lined", f"request {number} is {request.state} in a line"
            assert request.device == device.id, f"request {number} is in the line of another"
    for function, instance in device.residents.items():
        assert c.store.instances[instance].function == function, f"{device.id}: {instance} is of another"
        assert c.store.instances[instance].slot in ("idle", "busy"), f"{device.id}: {instance} does not lie"
    for loading in device.loading.values():
        if loading is None:
            assert device.id in c.store.fleet.stalled, f"{device.id}: a load is forgotten"
        else:
            assert c.store.instances[loading].slot == "climbing", f"{device.id}: {loading} does not climb"
    for running in device.running:
        assert c.store.instances[running].bound, f"{device.id}: {running} runs nothing"
        assert c.store.instances[running].device == DeviceId(device.id)
