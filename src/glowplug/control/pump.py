"""Looking at one function again: what does it want, and what is the next move towards it?

Nothing is planned ahead. Whenever something changed for a function its wants are compared with what stands,
so an outcome that comes late, twice or not at all needs no case of its own.
"""

from __future__ import annotations

from math import inf

from glowplug.control import (
    answers,
    bindings,
    builds,
    capacity,
    goals,
    growth,
    instances,
    lending,
    lines,
    memory,
    offers,
    versions,
)
from glowplug.control.context import Context
from glowplug.control.fleet import schedule
from glowplug.control.preloading import drive
from glowplug.control.records import Function, Instance, Node, Version
from glowplug.control.views import FunctionView, InstanceView
from glowplug.control.wants import most_workers, prewarm_of, replicas_wanted
from glowplug.core.errors import NoSpace
from glowplug.core.ids import FunctionId, NodeId
from glowplug.core.ladder import Step

_LOOK_AGAIN_S = 1.0
"""At the earliest, at an instance that was in use when its time had come."""


def pump(c: Context, number: FunctionId) -> None:
    """One look. Handing a function that is not there is not an error."""
    function = c.store.functions.get(number)
    if function is None:
        return
    if function.retiring or function.gone:
        versions.tidy(c, function)
        if function.gone:
            return
    versions.advance(c, function)
    if function.active is None:
        return
    version = c.store.versions[function.active]
    if version.on_device:
        schedule.look(c, function, version)
        if function.goal is not None:
            goals.pursue(c, function, version)
        if function.stage_wanted:
            _stage(c, function, version)
        return
    if function.on_device:
        schedule.qualify(c, function, on_device=False)
    if function.queue:
        try:
            _serve(c, function, version)
        except NoSpace as error:
            answers.reject_queue(c, function, error.code, error.message)
    elif version.leased:
        _grow_under_leases(c, function, version)
    if function.goal is not None:
        goals.pursue(c, function, version)
    elif version.live < replicas_wanted(c, function) and c.now_s >= function.retry_at_s:
        _keep_replicas(c, function, version)
    if function.stage_wanted and not function.queue:
        _stage(c, function, version)
    if function.id in c.store.preloads.wanted:
        drive.pursue(c, function, version)
    elif version.spec.declaration.preload == "always" and not (version.live or function.queue):
        drive.load_always(c, function)


def _serve(c: Context, function: Function, version: Version) -> None:
    """Sends queued requests where they finish first, in their order. What would have to climb for that and
    cannot yet leaves them to those that serve already."""
    view = FunctionView(c, function, version)
    dispatch = c.policies.dispatch
    while function.queue:
        choice = dispatch.decide(view, 0, c.now_s, c.rng)
        if choice.action == "run" and choice.instance is not None:
            bindings.bind(c, c.store.instances[choice.instance])
        elif choice.action == "climb":
            head = c.store.requests[function.queue.head()]
            view.growing = not growth.grow(c, function, version, head)
        else:
            break
    if not view.growing:
        lines.leave(c, function)
    if not function.queue:
        return
    _claim_lent(c, function, version)
    if version.live and len(function.queue) > 1:
        # The head waits for what serves already, but the last in the queue may be better off with one more.
        last = dispatch.decide(view, len(function.queue) - 1, c.now_s, c.rng)
        if last.action == "climb":
            growth.grow(c, function, version)


def _claim_lent(c: Context, function: Function, version: Version) -> None:
    """Requests wait while instances are lent: see capacity.is_shared for which way is taken.

    Either their gateway may send more at once, and the queue gets what the controller keeps beside each
    lease; or as many instances as requests wait are taken back.
    """
    shared = capacity.is_shared(version.most_slots)
    gateway = c.store.requests[function.queue.head()].gateway
    wanted = len(function.queue)
    for number in list(version.leased):
        if wanted <= 0:
            break
        instance = c.store.instances[number]
        if not shared:
            lending.revoke(c, instance)
            bindings.reindex(c, instance)
        elif instance.lease is not None and instance.lease.gateway == gateway:
            lending.widen(c, instance, version.most_slots)
        wanted -= 1


def _grow_under_leases(c: Context, function: Function, version: Version) -> None:
    """No request waits here, but in the sockets of lent workers more may wait than a climb takes."""
    view = FunctionView(c, function, version)
    if not (view.pressed and view.can_grow) or c.now_s < function.retry_at_s:
        return
    try:
        if c.policies.dispatch.decide(view, 0, c.now_s, c.rng).action == "climb":
            growth.grow(c, function, version)
    except NoSpace as error:
        function.error = error.message


def _keep_replicas(c: Context, function: Function, version: Version) -> None:
    try:
        for _ in range(replicas_wanted(c, function) - version.live):
            if not growth.grow(c, function, version, prime=True):
                break
    except NoSpace as error:
        function.error = error.message


def _stage(c: Context, function: Function, version: Version) -> None:
    """After an answer the function's own zygote is made, for the next climb to start from."""
    facts = version.facts
    held = function.hold is not None or function.goal is not None
    if held or facts is None or facts.highest_step < Step.STAGED or version.staged_on or version.unstageable:
        function.stage_wanted = False
        return
    growth.stage(c, function, version, eager=True)


def rest(c: Context, instance: Instance) -> None:
    """An instance could take a request and none waits: it is lent, kept, or, when it is idle, let go."""
    function, version = c.function_of(instance), c.version_of(instance)
    if instance.bound:
        if instance.device is not None:
            return
        climbs = c.holding_of(instance).phase == "climbing"
        if instance.version == function.active and instance.host is None and not (function.queue or climbs):
            _rest_busy(c, instance, function, version)
        return
    if instance.version not in (function.active, function.next):
        instances.drain(c, instance, "superseded")
        return
    on_device = instance.device is not None
    if instance.version != function.active or (function.queue and not on_device):
        return
    if instance.host is not None:
        return
    if c.settings.eager_stage and function.done and not version.staged_on:
        function.stage_wanted = True
        c.touch(function.id)
    if on_device:
        return
    held = function.hold is not None and function.hold < Step.PARKED
    if held or version.live > max(most_workers(c, function, version), replicas_wanted(c, function)):
        instances.drain(c, instance, "not wanted")
        return
    if version.live > replicas_wanted(c, function):
        until_s = _keep_until_s(c, instance, version)
        if until_s <= c.now_s and not bindings.has_busy_guest(c, instance):
            instances.drain(c, instance, "idle")
            return
        _look_again(c, instance, until_s)
    if lending.lend(c, instance):
        bindings.reindex(c, instance)


def _rest_busy(c: Context, instance: Instance, function: Function, version: Version) -> None:
    """Lent while something runs in it: else a worker that is never idle would never be lent."""
    held = function.hold is not None and function.hold < Step.PARKED
    if held or version.live > max(most_workers(c, function, version), replicas_wanted(c, function)):
        return
    if version.live > replicas_wanted(c, function):
        until_s = _keep_until_s(c, instance, version)
        if until_s <= c.now_s:
            return
        _look_again(c, instance, until_s)
    if lending.lend(c, instance):
        bindings.reindex(c, instance)


def _look_again(c: Context, instance: Instance, at_s: float) -> None:
    """One timer per instance; it is set again when it fires, not at every use."""
    if at_s < inf and f"keep:{instance.id}" not in c.store.timers:
        c.set_timer(f"keep:{instance.id}", at_s)


def _keep_until_s(c: Context, instance: Instance, version: Version) -> float:
    declared = version.spec.declaration
    if version.live <= 1 and (declared.pin or declared.preload == "always"):
        return inf
    until_s = prewarm_of(c, version).keep_until_s(InstanceView(instance, version), c.now_s)
    if instance.id in c.store.preloads.unused:
        if c.policies.preload.ends_unused:
            return inf
        # Its function's policy may keep none, or none yet; but this one was not loaded to go at once.
        until_s = max(until_s, instance.used_s + version.spec.declaration.keep_warm_s)
    return until_s


def on_prewarm_timer(c: Context, number: FunctionId) -> None:
    """The function's pre-warm policy wants an instance to be there from now on."""
    function = c.store.functions.get(number)
    if function is None or function.active is None or function.gone or function.queue:
        return
    version = c.store.versions[function.active]
    if version.live or version.on_device or c.now_s < function.retry_at_s:
        return
    try:
        growth.grow(c, function, version, prime=True)
    except NoSpace as error:
        function.error = error.message


def on_keep_timer(c: Context, instance: Instance) -> None:
    """Idle for long enough? One that was used under its lease since is looked at again later."""
    version = c.version_of(instance)
    if version.live <= replicas_wanted(c, c.function_of(instance)):
        return
    until_s = _keep_until_s(c, instance, version)
    used = not bindings.is_unused(instance) or bindings.has_busy_guest(c, instance)
    if until_s <= c.now_s and not used:
        instances.drain(c, instance, "idle")
    else:
        _look_again(c, instance, max(until_s, c.now_s + _LOOK_AGAIN_S))


def feed(c: Context, node: Node) -> None:
    """Memory became free: those who wait for it try again, in order, until one must wait on."""
    memory.relieve(c, node)
    while node.starved:
        head = next(iter(node.starved))
        pump(c, head)
        if next(iter(node.starved), None) == head:
            return
    while node.patient:
        head = next(iter(node.patient))
        del node.patient[head]
        pump(c, head)
        if head in node.patient:
            return


def settle(c: Context) -> None:
    """Follows up on what the event changed, until nothing is marked."""
    while True:
        pumped = bool(c.dirty)
        while c.dirty:
            number = next(iter(c.dirty))
            del c.dirty[number]
            pump(c, number)
        if c.fleet_check:
            # Before memory is given to others: what has just come to a device may be about to be used.
            c.fleet_check = False
            schedule.run(c)
        elif c.unoffered:
            offers.settle(c)
        elif c.freed:
            node = c.store.nodes.get(_take(c.freed))
            if node is not None:
                feed(c, node)
                c.build_check = c.build_check or bool(c.store.build_queue)
        elif c.build_check:
            c.build_check = False
            builds.start(c)
        elif c.invoked:
            number_used = next(iter(c.invoked))
            del c.invoked[number_used]
            used = c.store.instances.get(number_used)
            if used is not None:
                drive.invoked(c, used)
        elif c.idled:
            number_idle = next(iter(c.idled))
            del c.idled[number_idle]
            instance = c.store.instances.get(number_idle)
            if instance is not None and instance.slot in ("idle", "busy"):
                rest(c, instance)
        elif pumped or c.preload_check:
            c.preload_check = False
            drive.run(c)
        else:
            return


def _take(marks: dict[NodeId, None]) -> NodeId:
    node = next(iter(marks))
    del marks[node]
    return node
