"""Carries out what the scheduling policy decides, and moves the lines on."""

from __future__ import annotations

from glowplug.control import answers, bindings
from glowplug.control.context import Context
from glowplug.control.fleet import fits, lines, loads, places, queues
from glowplug.control.fleet.records import Device
from glowplug.control.fleet.view import FleetView
from glowplug.control.records import Function, Version
from glowplug.control.wants import replicas_wanted
from glowplug.core.ids import FunctionId, InstanceId
from glowplug.core.ladder import Step
from glowplug.policy.scheduling import Load, Send


def run(c: Context) -> None:
    """One round: lines that can move, the policy until it is done, and loads that wait for room. Those come
    last, or they would take the memory of what has just come and is about to be used."""
    fleet = c.store.fleet
    while c.moved:
        number = next(iter(c.moved))
        del c.moved[number]
        device = fleet.devices.get(number)
        if device is not None:
            _advance(c, device)
    if fleet.devices:
        _decide(c)
    if fleet.stalled:
        loads.retry(c)


def _decide(c: Context) -> None:
    view, fleet = fleet_view(c), c.store.fleet
    view.refresh()
    for decision in c.policies.scheduling.decide(view, c.now_s):
        device = fleet.devices[decision.device]
        if isinstance(decision, Load):
            function = c.store.functions[decision.function]
        else:
            function = c.store.functions[c.store.requests[decision.requests[0]].function]
        if device.id not in fleet.where.get(function.id, ()) and not fits.may_lie(c, device, function):
            # A policy that insists would be asked for ever.
            return
        if isinstance(decision, Load):
            loads.want(c, device, function)
        else:
            _send(c, device, function, decision, view)


def fleet_view(c: Context) -> FleetView:
    if c.fleet_view is None:
        c.fleet_view = FleetView(c)
    return c.fleet_view


def look(c: Context, function: Function, version: Version) -> None:
    """Loads a function on devices up to its least number of copies, and one that is to be loaded always where
    memory is free. While requests for it wait, this is
    left to the policy: two functions that are both waited for would evict each other, and a policy that
    waits for a device without a load would use neither."""
    if not function.on_device:
        qualify(c, function, on_device=True)
    c.fleet_check, fleet = True, c.store.fleet
    awaited = function.queue.length or function.goal == Step.PARKED
    if awaited and (not fleet.devices or fits.hopeless(c, version) is not None):
        _refuse_hopeless(c, function, version)
    missing = replicas_wanted(c, function) - len(fleet.where.get(function.id, ()))
    if missing <= 0 and not _fills_free_memory(c, function, version):
        return
    fleet.short[function.id] = None
    if function.queue.length or c.now_s < function.retry_at_s:
        return
    places = [
        device
        for device in c.store.fleet.devices.values()
        if not device.paused_until_s
        and device.id not in c.store.fleet.where.get(function.id, ())
        and fits.may_lie(c, device, function)
        and (fits.has_room(c, device, version) if missing > 0 else _is_free_for(c, device, version))
    ]
    places.sort(key=lambda device: -c.store.fleet.ledger.free_bytes(device.id))
    for device in places[: max(1, missing)]:
        loads.want(c, device, function)


def _fills_free_memory(c: Context, function: Function, version: Version) -> bool:
    """Its declaration asks for a copy whenever there is memory that nobody uses."""
    if version.spec.declaration.preload != "always" or function.id in c.store.fleet.where:
        return False
    return fits.may_come_ahead(c, function)


def _is_free_for(c: Context, device: Device, version: Version) -> bool:
    """Not where loads wait, nor while requests do: what is free there is theirs."""
    if c.store.fleet.waiting_by_function or None in device.loading.values():
        return False
    return fits.has_free_room(c, device, version)


def _refuse_hopeless(c: Context, function: Function, version: Version) -> None:
    """Refuses requests that no device can serve. If no node is there at all, one is expected to come back."""
    if c.store.fleet.devices:
        hopeless = fits.hopeless(c, version)
        if hopeless is not None:
            function.goal = None
            function.note(hopeless)
            answers.reject_queue(c, function, "no_space", hopeless)
    elif c.store.nodes:
        function.goal = None
        words = f"{function.id} computes on a device, and there is none: see `glowplug serve --devices`"
        function.note(words)
        answers.reject_queue(c, function, "unavailable", words)


def qualify(c: Context, function: Function, *, on_device: bool) -> None:
    """Its next version is on devices, where the one before was not, or the other way round."""
    if not on_device:
        lines.recall_all(c, function, retried=False)
        c.policies.scheduling.forget(function.id)
    waiting = list(function.queue)
    for number in waiting:
        if not on_device:
            queues.leave(c.store.fleet, c.store.requests[number])
    function.on_device = on_device
    for number in waiting:
        if on_device:
            queues.join(c.store.fleet, c.store.requests[number])


def _send(c: Context, device: Device, function: Function, decision: Send, view: FleetView) -> None:
    store, name, count = c.store, function.id, len(decision.requests)
    here = name in device.residents or name in device.loading
    store.fleet.tally.bound(count, here=here, elsewhere=name in store.fleet.where)
    if len(store.fleet.waiting.lanes) > 1:
        queues.pass_over(store, store.requests[decision.requests[0]])
    run_s = view.run_s(name, device.id, count)
    number = _ready(device, name)
    if number is not None and not device.line and len(device.running) < device.at_once:
        requests = []
        for each in decision.requests:
            request = store.requests[each]
            answers.dequeue(c, request)
            requests.append(request)
        bindings.bind_batch(c, store.instances[number], requests, run_s)
        return
    lines.join(c, device, function, decision.requests, run_s)
    _advance(c, device)
    if device.line:
        places.changed(c, device)


def _advance(c: Context, device: Device) -> None:
    """Begins what can begin: the first in the line whose model is there and not at work."""
    while device.line and len(device.running) < device.at_once:
        # By function first: a line may be long, and nobody in it ready.
        ready = {f: number for f in device.pinned if (number := _ready(device, f)) is not None}
        if not ready:
            break
        place = next(place for place, batch in enumerate(device.line) if batch.function in ready)
        batch = lines.take(c, device, place)
        number = ready[batch.function]
        requests = [c.store.requests[each] for each in batch.requests]
        bindings.bind_batch(c, c.store.instances[number], requests, batch.run_s)
    for function in list(device.pinned):
        if function not in device.residents and function not in device.loading:
            loads.want(c, device, c.store.functions[function])


def _ready(device: Device, function: FunctionId) -> InstanceId | None:
    number = device.residents.get(function)
    return None if number is None or number in device.running else number
