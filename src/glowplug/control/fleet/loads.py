"""Loads: a function's model on its way to a device, with all that it has to stand on."""

from __future__ import annotations

from functools import partial
from math import inf

from glowplug.control import growth, holdings, instances, memory, offers
from glowplug.control import lines as starved
from glowplug.control.context import Context
from glowplug.control.fleet import cache, fits, lines, places
from glowplug.control.fleet.records import Device
from glowplug.control.origins import best_origin
from glowplug.control.records import Function, Version
from glowplug.control.sizes import device_bytes, instance_bytes, too_big, too_large
from glowplug.control.worth import device_score_now
from glowplug.core.commands import Target
from glowplug.core.errors import NoSpace
from glowplug.core.ids import FunctionId, InstanceId
from glowplug.core.ladder import Step


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


def forget(c: Context, function: Function) -> None:
    """Loads that have not begun are wanted no more; who stands in line for one waits in the queue again."""
    for number in list(c.store.fleet.where.get(function.id, ())):
        device = c.store.fleet.devices[number]
        if function.id in device.loading and device.loading[function.id] is None:
            places.give_up(c, device, function.id)
            lines.recall(c, device, function.id, retried=False)


def _begin_all(c: Context, device: Device) -> None:
    stalled = False
    for function, instance in list(device.loading.items()):
        if instance is None and not _begin(c, device, function):
            stalled = True
            break
    if not stalled:
        c.store.fleet.stalled.pop(device.id, None)


def _begin(c: Context, device: Device, number: FunctionId) -> bool:
    """False when it has to wait. Those behind it then wait, too, because they would take the room that it
    needs."""
    function = c.store.functions.get(number)
    version = None if function is None else fits.version_on_devices(c, function)
    if function is None or version is None:
        places.give_up(c, device, number)
        return True
    if device.paused_until_s:
        leave_memory(c, device, function)
        return False
    try:
        urgent = number in device.pinned or number in c.store.fleet.waiting_by_function
        return _grow(c, function, version, device, urgent=urgent)
    except NoSpace as error:
        places.give_up(c, device, number)
        lines.recall(c, device, number, retried=False)
        leave_memory(c, device, function)
        function.note(error.message)
        c.touch(number)
        return True


def leave_memory(c: Context, device: Device, function: Function) -> None:
    """It will not load there for now. So nobody waits behind it for the node's memory, unless it is to load
    on another device of that node."""
    if function.starved_at != device.node:
        return
    for number in c.store.fleet.where.get(function.id, ()):
        other = c.store.fleet.devices[number]
        waits = function.id in other.loading and other.loading[function.id] is None
        if waits and other is not device and other.node == device.node and not other.paused_until_s:
            return
    starved.leave(c, function)


def _grow(c: Context, function: Function, version: Version, device: Device, *, urgent: bool) -> bool:
    """As growth.grow, on a device; `urgent` if requests wait for it. The model's weights pass through the
    node's memory, and stay there if there is room (cache.py). A load that is not urgent evicts nothing
    that is pinned: otherwise two that do not fit together would evict each other for ever."""
    node, need_bytes = c.store.nodes[device.node], device_bytes(version, device)
    if need_bytes > c.store.fleet.ledger.budget[device.id]:
        raise NoSpace(too_large(c, version, device))
    rank, own_bytes = starved.rank_of(c, function), instance_bytes(c, version)
    hopeless = too_big(c, version, node.id, own_bytes)
    if hopeless is not None:
        version.unfit_on[node.id] = None
        raise NoSpace(hopeless)
    origin = best_origin(c, version, node.id)
    if origin is None:
        growth.ensure_environment(c, node, function, version, rank if urgent else 0)
        return _let_others_go(c, device, function, urgent=urgent)
    needs = growth.needs_of(version, node.id)
    weights = c.store.holdings.get(needs[1])
    if weights is not None and weights.phase == "descending":
        holdings.wait_for(weights, function.id)
        return _let_others_go(c, device, function, urgent=urgent)
    if not urgent and not fits.has_room(c, device, version):
        places.give_up(c, device, function.id)
        return True
    if not _make_room(c, device, need_bytes, inf if urgent else c.policies.device_eviction.pinned_from):
        return False
    if not memory.acquire(c, node, function, own_bytes, urgent=urgent, keep=needs[:1], spare=needs[1:]):
        return _let_others_go(c, device, function, urgent=urgent)
    target = Target("instance", node.id, str(c.instance_id()))
    holding = holdings.enter(c, target, Step.PARKED, own_bytes, spec=version.spec, needs=needs, priority=rank)
    c.store.fleet.ledger.record(holding.key, device.id, need_bytes)
    device.loading[function.id] = InstanceId(int(target.key))
    starved.leave(c, function)
    cached = node.id in version.cached_on
    if not cached:
        cache.expect(c, node, version)
    instances.launch(c, holding, version, origin, None, prime=False, device=device, cached=cached)
    elsewhere = len(c.store.fleet.where[function.id]) > 1
    c.store.fleet.tally.loaded(elsewhere=elsewhere, from_memory=cached)
    return True


def _let_others_go(c: Context, device: Device, function: Function, *, urgent: bool) -> bool:
    """It lacks something that the device cannot give. If no request waits for it, it gives up its place
    there. The function is looked at again when the missing part arrives."""
    if not urgent:
        places.give_up(c, device, function.id)
    return not urgent


def _make_room(c: Context, device: Device, need_bytes: int, limit: float) -> bool:
    """Whether so many bytes are free there; if not, the least worthy of what is idle there goes."""
    short_bytes = need_bytes - fits.coming_bytes(c, device)
    if short_bytes > 0:
        offers.settle(c)
        eviction, current = c.policies.device_eviction, partial(device_score_now, c)
        for key in eviction.victims(device.id, short_bytes, (), limit, current):
            eviction.evicted(key)
            c.store.fleet.tally.evictions += 1
            number = InstanceId(int(c.store.holdings[key].target.key))
            instances.drain(c, c.store.instances[number], "evicted")
    return c.store.fleet.ledger.free_bytes(device.id) >= need_bytes
