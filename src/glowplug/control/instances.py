"""Instances: their beginning, what they have answered, letting them go, and their end."""

from __future__ import annotations

from math import inf

from glowplug.control import bindings, failures, gangs, holdings, lending, overdue
from glowplug.control.context import Context
from glowplug.control.fleet import lines as device_lines
from glowplug.control.fleet.records import Device
from glowplug.control.learning import learn_batch, learn_run
from glowplug.control.records import Holding, Instance, Request, Version
from glowplug.control.sizes import loaded_bytes
from glowplug.core.events import RequestDone, StepReached
from glowplug.core.ids import InstanceId, NodeId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority

_IN_VAIN = frozenset({"evicted", "idle", "its sandbox is used", "not needed after all", "taken over"})
"""Why something goes that was loaded ahead, when that is because nobody came for it so far."""


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
    displaces: InstanceId | None = None,
) -> None:
    """Starts the climb of a new instance, for which `holding` was entered, and the climbs of its parts.
    `request` is bound to it.

    `cached` says that its node's memory has the weights. For the cost table, a load from there to a device
    counts as one from STAGED.
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
        asked_for=request is not None,
    )
    c.store.instances[instance.id] = instance
    if parts:
        gangs.announce(c, instance, version)
    patience_s = inf if device is not None else overdue.patience_s(c, version, origin, Priority.INTERACTIVE)
    holdings.climb(
        c, holding, version,
        origin=origin, prime=prime, device=instance.device, cached=cached, displaces=displaces,
        patience_s=patience_s,
    )  # fmt: skip
    if parts:
        gangs.climb(c, instance, version)
    if request is None:
        bindings.reindex(c, instance)
    else:
        bindings.bind(c, instance)


def on_request_done(c: Context, event: RequestDone) -> None:
    store = c.store
    instance, request = store.instances.get(event.instance), store.requests.get(event.request)
    if request is not None and request.state in ("queued", "lined"):
        _answered_late(c, request, event)
        return
    if instance is None or request is None or event.request not in instance.bound:
        return
    function, version = store.functions[instance.function], store.versions[instance.version]
    ended = bindings.unbind(c, instance, request)
    if request.state == "bound":
        if instance.id in store.preloads.unused:  # its answer is faster than the word that it is up
            store.preloads.note_used(instance.id, late=True)
        function.done += event.ok
        function.failed += not event.ok
        if event.ok and instance.device is None:
            learn_run(c, version, event.took_s)
        elif event.ok and ended is not None:
            learn_batch(c, version, *ended, event.took_s)
    del store.requests[request.id]
    instance.used_s = c.now_s
    if not (c.settings.keeps_loaded or instance.bound):
        instance.loaded = False
        if instance.host is not None:
            drain(c, instance, "it has answered")
    instance.uses += 1
    failures.forgive(c, function, ahead=instance.ahead)
    if instance.bound:
        bindings.stop_cancelled(c, instance)
    released(c, instance)
    if instance.slot == "busy" and version.slots > 1:
        # It has more to do yet, and moves: so that it can be lent, see resting.py.
        c.idled[instance.id] = None


def _answered_late(c: Context, request: Request, event: RequestDone) -> None:
    """A worker that was given up answered after all, when its request was back in the queue."""
    function = c.store.functions[request.function]
    device_lines.withdraw(c, request)
    del c.store.requests[request.id]
    function.done += event.ok
    function.failed += not event.ok
    c.touch(function.id)


def released(c: Context, instance: Instance) -> None:
    """The instance has less to do than before. If it drains it may go now; else it is looked at again."""
    if instance.draining:
        _go_when_empty(c, instance)
    else:
        bindings.reindex(c, instance)
    c.touch(instance.function)


def on_parked(c: Context, instance: Instance, event: StepReached) -> None:
    holding = c.holding_of(instance)
    move = "staged" if instance.origin >= Step.STAGED else "imported"
    if holding.priority != Priority.BACKGROUND or c.policies.costs.measured_s(instance.version, move) is None:
        # What a climb took that stood back says little of one that somebody waits for.
        c.policies.costs.learn(instance.version, move, event.took_s)
        c.revalue(instance.function)
    c.version_of(instance).given_up = 0
    c.function_of(instance).went_well()
    c.store.preloads.note_loaded(instance, event.took_s if event.cpu_s is None else event.cpu_s)
    holdings.arrive(c, holding, event)
    instance.used_s = c.now_s
    if instance.gateway is None and len(c.store.gateways) == 1:
        instance.gateway = next(iter(c.store.gateways))
    if instance.id in c.store.preloads.unused and overdue.is_awaited(c, instance):
        c.store.preloads.note_used(instance.id, late=True)
    bindings.stop_cancelled(c, instance)
    released(c, instance)


def drain(c: Context, instance: Instance, why: str) -> None:
    """The instance gets no more requests and descends when it has none. Again is not an error."""
    if instance.draining:
        return
    unused = bindings.is_unused(instance)
    instance.draining, instance.why = True, why
    c.clear_timer(f"keep:{instance.id}")
    bindings.reindex(c, instance)
    if instance.id in c.store.preloads.unused and overdue.is_awaited(c, instance):
        c.store.preloads.note_used(instance.id, late=True)  # it answers before it goes
    else:
        c.store.preloads.note_unused(instance, c.now_s, in_vain=why in _IN_VAIN)
    if c.store.guests:
        _end_guests(c, instance, why)
    if unused:
        gangs.leave(c, instance)
        if instance.device is not None:
            c.store.fleet.leave(instance.key)
    _go_when_empty(c, instance)


def _end_guests(c: Context, host: Instance, why: str) -> None:
    """The sandbox goes, once those that are loaded in it have answered."""
    for number in list(c.store.guests.get(host.id, ())):
        drain(c, c.store.instances[number], why)


def kill(c: Context, instance: Instance, why: str) -> None:
    """Descends the instance no matter what runs in it; its requests end with it."""
    _end_guests(c, instance, why)
    instance.draining, instance.why = True, why
    c.clear_timer(f"keep:{instance.id}")
    c.store.preloads.note_unused(instance, c.now_s)
    lending.drop(c, instance)
    if c.holding_of(instance).phase != "descending":
        holdings.descend(c, c.holding_of(instance), Step.STAGED, why)
        gangs.descend(c, instance, why)
    bindings.reindex(c, instance)


def _go_when_empty(c: Context, instance: Instance) -> None:
    holding = c.holding_of(instance)
    if holding.phase == "descending":
        return
    if instance.leases:
        lending.revoke(c, instance)
    elif not instance.bound and not bindings.has_busy_guest(c, instance):
        holdings.descend(c, holding, Step.STAGED, instance.why)
        gangs.descend(c, instance, instance.why)


def end(c: Context, instance: Instance, code: str, message: str, *, permanent: bool) -> None:
    """The instance's process is gone, and its memory free. While it climbed, `code` says why.

    Guests that still run inside its sandbox count for themselves from now on, until they have gone, too.
    """
    failures.fail_requests(c, instance, code, message, permanent=permanent)
    lending.drop(c, instance)
    instance.draining = True
    bindings.reindex(c, instance)
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
