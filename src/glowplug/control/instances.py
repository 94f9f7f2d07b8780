"""Instances: binding requests to them, letting them go, and their end."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from glowplug.control import answers, gangs, holdings, lending
from glowplug.control.context import Context
from glowplug.control.estimates import learn_batch, learn_run, loaded_bytes
from glowplug.control.fleet import lines as device_lines
from glowplug.control.fleet import places
from glowplug.control.fleet.records import Device, Running
from glowplug.control.records import Function, Holding, Instance, Request, Slot, Version
from glowplug.core.commands import Cancel, Dispatch
from glowplug.core.events import RequestDone, StepReached
from glowplug.core.ids import GatewayId, InstanceId, NodeId, RequestId
from glowplug.core.ladder import Step

_MISSES_BEFORE_GIVING_UP = 2
_ATTEMPTS_OF_NEXT = 12
"""Nobody waits for a version that is to take over but whoever deployed it, to whom it was acknowledged."""
_LONGEST_BACKOFF_S = 60.0
_CANCEL_SLACK_S = 5.0


def launch(
    c: Context,
    holding: Holding,
    version: Version,
    origin: Step,
    request: Request | None,
    *,
    prime: bool,
    device: Device | None = None,
    host: Instance | None = None,
    cached: bool = False,
    parts: tuple[str, ...] = (),
) -> None:
    """Starts the climb of a new instance that `holding` was entered for, with `request` bound to it, and
    those of its parts.

    `cached` says that its node's memory has the weights. To the costs a load to a device from there is as one
    from STAGED.
    """
    instance = Instance(
        id=InstanceId(int(holding.target.key)),
        key=holding.key,
        node=NodeId(holding.target.node),
        function=version.spec.function,
        version=version.spec.version,
        origin=Step.STAGED if cached and device is not None else origin,
        used_s=c.now_s,
        device=None if device is None else device.id,
        parts=parts,
        host=None if host is None else host.id,
    )
    c.store.instances[instance.id] = instance
    gangs.announce(c, instance, version)
    holdings.climb(c, holding, version, origin=origin, prime=prime, device=instance.device, cached=cached)
    gangs.climb(c, instance, version)
    if request is None:
        reindex(c, instance)
    else:
        bind(c, instance)


def reindex(c: Context, instance: Instance) -> None:
    """Moves the instance to the index its state calls for, and offers it for eviction when it is idle."""
    phase = c.holding_of(instance).phase
    slot: Slot
    if instance.draining or phase == "descending":
        slot = ""
    elif instance.lease is not None:
        slot = "leased"
    elif instance.bound:
        slot = "busy"
    else:
        slot = "climbing" if phase == "climbing" else "idle"
    version, before = c.version_of(instance), instance.slot
    if slot != before:
        if before:
            del getattr(version, before)[instance.id]
        if slot:
            getattr(version, slot)[instance.id] = None
        instance.slot = slot
    if instance.host is not None:
        if slot == "idle":
            c.idled[instance.id] = None
        host = c.store.instances.get(instance.host)
        if host is not None and host.slot == "idle":
            reindex(c, host)
    elif instance.id in c.store.guests and has_busy_guest(c, instance):
        c.policies.eviction.withdraw(instance.key)
    elif slot == "idle" or (slot == "leased" and is_unused(instance)):
        if before != "idle" or slot == "idle":
            # One that was idle until it was lent is on offer already.
            holdings.offer(c, c.holding_of(instance))
        if slot == "idle":
            c.idled[instance.id] = None
    else:
        c.policies.eviction.withdraw(instance.key)
    if instance.device is not None:
        places.reindexed(c, instance)
    if slot != before and c.policies.preload.foresees:
        c.preload_check = True


def is_unused(instance: Instance) -> bool:
    return not instance.bound and (
        instance.lease is None or (not instance.lease.in_flight and not instance.lease.revoking)
    )


def bind(c: Context, instance: Instance) -> None:
    """Sends the request whose turn it is to an instance, which may still be climbing, or have others before
    it. The index that the instance stands in begins with those that were sent something the longest ago."""
    function = c.function_of(instance)
    request = answers.take(c, function)
    request.state, request.instance = "bound", instance.id
    if not instance.bound:
        instance.busy_since_s = c.now_s
    instance.bound[request.id] = None
    instance.gateway = request.gateway
    function.in_flight += 1
    instance.loaded = True
    c.store.preloads.note_used(instance.id)
    c.store.preloads.served_at[function.id] = instance.node
    if c.store.guests:
        c.invoked[instance.id] = None
    holdings.hurry(c, c.holding_of(instance), request.rank)
    before = instance.slot
    reindex(c, instance)
    if before and instance.slot == before:
        index = getattr(c.version_of(instance), before)
        del index[instance.id]
        index[instance.id] = None
    c.emit(Dispatch(id=c.command_id(), requests=(request.id,), instance=instance.id, gateway=request.gateway))


def bind_batch(c: Context, instance: Instance, numbers: Iterable[RequestId], expected_s: float) -> None:
    """Sends requests that stood in the line of the instance's device, as one batch."""
    requests = [c.store.requests[number] for number in numbers]
    function, device = c.function_of(instance), places.device_of(c, instance)
    assert device is not None
    for request in requests:
        request.state, request.instance, request.device = "bound", instance.id, None
        instance.bound[request.id] = None
    device.running[instance.id] = Running(len(requests), c.now_s, expected_s)
    instance.busy_since_s = c.now_s
    function.in_flight += len(requests)
    reindex(c, instance)
    by_gateway: dict[GatewayId, list[RequestId]] = {}
    for request in requests:
        by_gateway.setdefault(request.gateway, []).append(request.id)
    for gateway, sent in by_gateway.items():
        instance.gateway = gateway
        c.emit(Dispatch(id=c.command_id(), requests=tuple(sent), instance=instance.id, gateway=gateway))


def unbind(c: Context, instance: Instance, request: Request) -> None:
    del instance.bound[request.id]
    request.instance = None
    instance.busy_since_s = c.now_s
    c.function_of(instance).in_flight -= 1
    if request.stopping:
        c.clear_timer(f"cancel:{request.id}")
    if instance.device is not None and not instance.bound:
        device = places.device_of(c, instance)
        running = None if device is None else device.running.pop(instance.id, None)
        if device is not None and running is not None:
            c.store.fleet.tally.compute_s += c.now_s - running.since_s
            places.changed(c, device)


def stop_cancelled(c: Context, instance: Instance) -> None:
    """Tells the engine to stop the cancelled requests that may run by now.

    One that waits in the worker's socket is left alone until it is next: the engine ends a worker that does
    not let go, and whoever runs in it before must not die for that.
    """
    if not instance.bound:
        return
    version = c.version_of(instance)
    for number in islice(instance.bound, version.at_once):
        request = c.store.requests[number]
        if request.state == "cancelling" and not request.stopping:
            request.stopping = True
            grace_s = c.settings.cancel_grace_s
            c.emit(Cancel(id=c.command_id(), request=number, instance=instance.id, grace_s=grace_s))
            c.set_timer(f"cancel:{number}", c.now_s + grace_s + _CANCEL_SLACK_S)


def on_request_done(c: Context, event: RequestDone) -> None:
    instance = c.store.instances.get(event.instance)
    request = c.store.requests.get(event.request)
    if request is not None and request.state in ("queued", "lined"):
        _answered_late(c, request, event)
        return
    if instance is None or request is None or event.request not in instance.bound:
        return
    function = c.function_of(instance)
    device = places.device_of(c, instance)
    running = None if device is None else device.running.get(instance.id)
    unbind(c, instance, request)
    if request.state == "bound":
        function.done += event.ok
        function.failed += not event.ok
        if event.ok and instance.device is None:
            learn_run(c, c.version_of(instance), event.took_s)
        elif event.ok and device is not None and running is not None and not instance.bound:
            learn_batch(c, c.version_of(instance), device, running.size, event.took_s)
    del c.store.requests[request.id]
    instance.used_s = c.now_s
    if not (c.settings.keeps_loaded or instance.bound):
        instance.loaded = False
        if instance.host is not None:
            drain(c, instance, "it has answered")
    instance.uses += 1
    stop_cancelled(c, instance)
    released(c, instance)
    if instance.slot == "busy" and c.version_of(instance).slots > 1:
        # It has more to do yet, and moves: so that it can be lent, see pump.rest.
        c.idled[instance.id] = None


def _answered_late(c: Context, request: Request, event: RequestDone) -> None:
    """By a worker that was given up, after the request was put back into its queue."""
    function = c.store.functions[request.function]
    device_lines.withdraw(c, request)
    del c.store.requests[request.id]
    function.done += event.ok
    function.failed += not event.ok
    c.touch(function.id)


def released(c: Context, instance: Instance) -> None:
    """The instance has less to do than before: it goes when it drains, else it is looked at again."""
    if instance.draining:
        _go_when_empty(c, instance)
    else:
        reindex(c, instance)
    c.touch(instance.function)


def on_parked(c: Context, instance: Instance, event: StepReached) -> None:
    holding = c.holding_of(instance)
    function = c.function_of(instance)
    move = "staged" if instance.origin >= Step.STAGED else "imported"
    c.policies.costs.learn(instance.version, move, event.took_s)
    c.store.preloads.note_loaded(instance, event.took_s)
    holdings.arrive(c, holding, event)
    function.misses, function.retry_at_s = 0, 0.0
    c.clear_timer(f"retry:{function.id}")
    instance.used_s = c.now_s
    if instance.gateway is None and len(c.store.gateways) == 1:
        instance.gateway = next(iter(c.store.gateways))
    released(c, instance)


def drain(c: Context, instance: Instance, why: str) -> None:
    """The instance gets no more requests and descends when it has none. Again is not an error."""
    if instance.draining:
        return
    unused = is_unused(instance)
    instance.draining, instance.why = True, why
    c.clear_timer(f"keep:{instance.id}")
    reindex(c, instance)
    c.store.preloads.note_unused(instance, c.now_s)
    _end_guests(c, instance, why)
    if unused:
        gangs.leave(c, instance)
        c.store.fleet.leave(instance.key)
    _go_when_empty(c, instance)


def _end_guests(c: Context, host: Instance, why: str) -> None:
    """The sandbox goes, once those that are loaded in it have answered."""
    for number in list(c.store.guests.get(host.id, ())):
        drain(c, c.store.instances[number], why)


def has_busy_guest(c: Context, host: Instance) -> bool:
    return any(c.store.instances[number].bound for number in c.store.guests.get(host.id, ()))


def kill(c: Context, instance: Instance, why: str) -> None:
    """Descends the instance whatever runs in it; its requests end with it."""
    _end_guests(c, instance, why)
    instance.draining, instance.why = True, why
    c.clear_timer(f"keep:{instance.id}")
    c.store.preloads.note_unused(instance, c.now_s)
    lending.drop(c, instance)
    if c.holding_of(instance).phase != "descending":
        holdings.descend(c, c.holding_of(instance), Step.STAGED, why)
        gangs.descend(c, instance, why)
    reindex(c, instance)


def _go_when_empty(c: Context, instance: Instance) -> None:
    holding = c.holding_of(instance)
    if holding.phase == "descending":
        return
    if instance.lease is not None:
        lending.revoke(c, instance)
    elif not instance.bound and not has_busy_guest(c, instance):
        holdings.descend(c, holding, Step.STAGED, instance.why)
        gangs.descend(c, instance, instance.why)


def end(c: Context, instance: Instance, code: str, message: str, *, permanent: bool) -> None:
    """The instance's process is gone, and its memory free. While it climbed, `code` says why.

    What others still do inside its sandbox counts for itself from now on, until it has gone as well.
    """
    fail_requests(c, instance, code, message, permanent=permanent)
    lending.drop(c, instance)
    instance.draining = True
    reindex(c, instance)
    c.clear_timer(f"keep:{instance.id}")
    c.store.preloads.note_unused(instance, c.now_s)
    _end_guests(c, instance, message)
    gangs.descend(c, instance, message)
    holdings.remove(c, c.holding_of(instance))
    del c.store.instances[instance.id]
    for number in c.store.guests.pop(instance.id, ()):
        guest = c.store.instances[number]
        c.store.ledger.resize(guest.key, loaded_bytes(c.version_of(guest)))
    if instance.host is not None:
        _leave_host(c, instance, instance.host)


def _leave_host(c: Context, guest: Instance, number: InstanceId) -> None:
    host, guests = c.store.instances.get(number), c.store.guests.get(number)
    if host is None or guests is None:
        return
    guests.pop(guest.id, None)
    if not guests:
        del c.store.guests[number]
    if host.draining:
        _go_when_empty(c, host)


def fail_requests(
    c: Context, instance: Instance, code: str, message: str, *, permanent: bool, climbing: bool = False
) -> None:
    """Requests that were never begun get a second chance, the others an error. `climbing` is whether what it
    stands on was still on its way up."""
    climbing = climbing or c.holding_of(instance).phase == "climbing"
    function = c.function_of(instance)
    unbound = not instance.bound
    for number in reversed(list(instance.bound)):
        request = c.store.requests[number]
        unbind(c, instance, request)
        if request.state == "cancelling":
            del c.store.requests[number]
        elif function.gone:
            answers.reject(c, request, "unknown_function", f"{function.id} was undeployed")
        elif climbing and permanent:
            answers.reject(c, request, code, message)
        elif request.started:
            died = code if code == "out_of_memory" else "worker_died"
            answers.reject(c, request, died, f"the worker of {function.id} died: {message}")
        elif request.retried:
            answers.reject(
                c,
                request,
                "unavailable",
                f"two workers of {function.id} ended before they began: {message}",
                1.0,
            )
        else:
            answers.requeue(c, request)
    if instance.id in c.store.preloads.unused:
        if not instance.draining:
            c.store.preloads.note_failed(instance, c.now_s)
            function.error = message
    elif climbing and unbound and not instance.draining:
        device = places.device_of(c, instance)
        if device is not None:
            places.failed(c, device)
            device_lines.recall(c, device, instance.function, retried=True)
        _missed(c, c.version_of(instance), code, message, permanent=permanent)


def _missed(c: Context, version: Version, code: str, message: str, *, permanent: bool) -> None:
    """A climb that no request was bound to failed: pause, and after some give up what depends on it."""
    function = c.store.functions[version.spec.function]
    function.misses += 1
    if version.spec.version == function.next:
        version.attempts += 1
        if permanent or version.attempts >= _ATTEMPTS_OF_NEXT:
            version.state, version.code, version.error = "failed", code, message
    elif (permanent or function.misses >= _MISSES_BEFORE_GIVING_UP) and version.live <= 1:
        answers.reject_queue(c, function, code if permanent else "unavailable", message)
    function.error = message
    pause(c, function)


def pause(c: Context, function: Function) -> None:
    """Nothing but a request makes this function climb for a while, the longer the more climbs failed."""
    pause_s = min(_LONGEST_BACKOFF_S, 0.5 * 2.0 ** min(function.misses, 10))
    function.retry_at_s = c.now_s + pause_s
    c.set_timer(f"retry:{function.id}", function.retry_at_s)
