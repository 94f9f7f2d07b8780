"""Which requests an instance has, and where it stands among those that could take one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from glowplug.control import answers, holdings, offers
from glowplug.control.context import Context
from glowplug.control.fleet import places
from glowplug.control.fleet.records import Device, Running
from glowplug.control.records import Instance, Request, Slot, key_of
from glowplug.core.commands import Cancel, Dispatch
from glowplug.core.ids import GatewayId, RequestId
from glowplug.core.ladder import Step

_CANCEL_SLACK_S = 5.0


def is_unused(instance: Instance) -> bool:
    return not instance.bound and (
        not instance.leases
        or not any(lease.in_flight or lease.revoking for lease in instance.leases.values())
    )


def reindex(c: Context, instance: Instance) -> None:
    """Moves the instance to the index its state calls for, and offers it for eviction when it is idle, or on
    a device sees to that (offers.py)."""
    c.reweigh()
    phase = c.store.holdings[instance.key].phase
    slot: Slot
    if instance.draining or phase == "descending":
        slot = ""
    elif instance.leases:
        slot = "leased"
    elif instance.bound:
        slot = "busy"
    else:
        slot = "climbing" if phase == "climbing" else "idle"
    before = instance.slot
    if slot != before:
        version = c.store.versions[instance.version]
        if before:
            del getattr(version, before)[instance.id]
            version.live -= 1
        if slot:
            getattr(version, slot)[instance.id] = None
            version.live += 1
        instance.slot = slot
    if instance.device is not None:
        if slot == "idle":
            c.idled[instance.id] = c.unoffered[instance.id] = None
        else:
            c.unoffered.pop(instance.id, None)
            c.policies.eviction.withdraw(instance.key)
        places.reindexed(c, instance)
    elif instance.host is not None:
        if slot == "idle":
            c.idled[instance.id] = None
        host = c.store.instances.get(instance.host)
        if host is not None and host.slot == "idle":
            reindex(c, host)
            if c.settings.guests_displace and slot != "busy":
                c.touch(host.function)  # its calls may have waited for the guest to answer
    elif instance.id in c.store.guests and has_busy_guest(c, instance):
        c.policies.eviction.withdraw(instance.key)
    elif slot == "idle" or (slot == "leased" and is_unused(instance)):
        if before != "idle" or slot == "idle":
            # One that was idle until it was lent is on offer already.
            offers.offer_worker(c, instance)
        if slot == "idle":
            c.idled[instance.id] = None
    else:
        c.policies.eviction.withdraw(instance.key)
    if slot != before and c.policies.preload.foresees:
        c.preload_check = True


def has_busy_guest(c: Context, host: Instance) -> bool:
    guests = c.store.guests.get(host.id)
    return guests is not None and any(c.store.instances[number].bound for number in guests)


def note_served(c: Context, instance: Instance) -> None:
    """A request is sent to it, or was under a lease: so the zygote below it was not loaded in vain."""
    preloads = c.store.preloads
    preloads.served_at[instance.function] = instance.node
    if preloads.zygotes and instance.origin >= Step.STAGED:
        version = c.store.versions[instance.version]
        if preloads.zygotes.pop(key_of("version", instance.node, version.spec.version), None) is not None:
            preloads.paused.pop(instance.function, None)


def bind(c: Context, instance: Instance) -> None:
    """Sends the request whose turn it is to an instance, which may still be climbing, or have others before
    it. The index that the instance stands in begins with those that were sent something the longest ago."""
    store = c.store
    function, holding = store.functions[instance.function], store.holdings[instance.key]
    request = answers.take(c, function)
    request.state, request.instance = "bound", instance.id
    if not instance.bound:
        instance.busy_since_s = c.now_s
    instance.bound[request.id] = None
    instance.gateway = request.gateway
    function.in_flight += 1
    instance.loaded = True
    if instance.id in store.preloads.unused:
        if holding.phase == "climbing":
            store.preloads.note_called(instance.id)
        else:
            store.preloads.note_used(instance.id)
    note_served(c, instance)
    if store.guests:
        c.invoked[instance.id] = None
    if holding.phase == "climbing":
        holdings.hurry(c, holding, request.rank)
    before = instance.slot
    reindex(c, instance)
    if before and instance.slot == before:
        index = getattr(c.version_of(instance), before)
        del index[instance.id]
        index[instance.id] = None
    c.emit(Dispatch(id=c.command_id(), requests=(request.id,), instance=instance.id, gateway=request.gateway))


def bind_batch(c: Context, instance: Instance, requests: Sequence[Request], expected_s: float) -> None:
    """Sends requests that wait nowhere any more to a worker on a device, as one batch."""
    assert instance.device is not None
    function, device = c.store.functions[instance.function], c.store.fleet.devices[instance.device]
    by_gateway: dict[GatewayId, list[RequestId]] = {}
    for request in requests:
        request.state, request.instance, request.device = "bound", instance.id, None
        instance.bound[request.id] = None
        by_gateway.setdefault(request.gateway, []).append(request.id)
    device.running[instance.id] = Running(len(requests), c.now_s, expected_s)
    instance.busy_since_s = c.now_s
    function.in_flight += len(requests)
    reindex(c, instance)
    for gateway, sent in by_gateway.items():
        instance.gateway = gateway
        c.out.append(Dispatch(c.command_id(), tuple(sent), instance.id, gateway))


def unbind(c: Context, instance: Instance, request: Request) -> tuple[Device, int] | None:
    """Returns what has ended with the request: a batch of so many on the device."""
    del instance.bound[request.id]
    request.instance = None
    instance.busy_since_s = c.now_s
    c.store.functions[instance.function].in_flight -= 1
    if request.stopping:
        c.clear_timer(f"cancel:{request.id}")
    device = places.device_of(c, instance) if not instance.bound else None
    running = device.running.pop(instance.id, None) if device is not None else None
    if device is None or running is None:
        return None
    c.store.fleet.tally.compute_s += c.now_s - running.since_s
    places.changed(c, device)
    return device, running.size


def stop_cancelled(c: Context, instance: Instance) -> None:
    """Tells the engine to stop the cancelled requests that may run by now.

    A request that waits in the worker's socket is left alone until it is next and the worker is up. The
    reason: the engine kills a worker that does not stop in time, and that must hit neither the request
    that runs there before it nor the climb.
    """
    if not instance.bound or c.holding_of(instance).phase == "climbing":
        return
    version = c.version_of(instance)
    for number in islice(instance.bound, version.at_once):
        request = c.store.requests[number]
        if request.state == "cancelling" and not request.stopping:
            request.stopping = True
            grace_s = c.settings.cancel_grace_s
            c.emit(Cancel(id=c.command_id(), request=number, instance=instance.id, grace_s=grace_s))
            c.set_timer(f"cancel:{number}", c.now_s + grace_s + _CANCEL_SLACK_S)
