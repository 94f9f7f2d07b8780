"""Looks at one function again: what does it want, and what is the next move towards that?

Nothing is planned ahead. Whenever something changed for a function, its wants are compared with what
exists. So an outcome that comes late, twice or never needs no code of its own.
"""

from __future__ import annotations

from glowplug.control import (
    answers,
    bindings,
    capacity,
    goals,
    growth,
    holdings,
    lending,
    lines,
    outcomes,
    versions,
)
from glowplug.control.context import Context
from glowplug.control.fleet import schedule
from glowplug.control.preloading import drive
from glowplug.control.records import Function, Version
from glowplug.control.views import FunctionView, ParkedNow
from glowplug.control.wants import prewarm_of, replicas_wanted
from glowplug.core.errors import NoSpace
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step


def pump(c: Context, number: FunctionId) -> None:
    """Looks once. No error if the function does not exist."""
    function = c.store.functions.get(number)
    if function is None:
        return
    if function.retiring or function.gone:
        versions.tidy(c, function)
        c.reweigh()
        if function.gone:
            return
    if function.next is not None:
        is_new = function.active is None
        versions.advance(c, function)
        c.reweigh()
        if is_new and function.active is not None:
            drive.introduced(c, number)
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
    if function.queue.length:
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
    if function.warm_until_s:
        _prewarm(c, function, version)
    if function.stage_wanted and not function.queue.length:
        _stage(c, function, version)
    if function.id in c.store.preloads.wanted:
        drive.pursue(c, function, version)
    elif version.spec.declaration.preload == "always" and not (version.live or function.queue.length):
        drive.load_always(c, function)


def _serve(c: Context, function: Function, version: Version) -> None:
    """Sends queued requests, in their order, where they finish first. If that needs a climb which cannot
    begin yet, the instances that serve already take them."""
    if not version.idle:
        outcomes.give_up_overdue(c, version)
    view = FunctionView(c, function, version)
    dispatch = c.policies.dispatch
    queue = function.queue
    while queue.length:
        choice = dispatch.decide(view, 0, c.now_s, c.rng)
        if choice.action == "run" and choice.instance is not None:
            bindings.bind(c, c.store.instances[choice.instance])
        elif choice.action == "climb":
            head = c.store.requests[queue.head()]
            view.growing = not growth.grow(c, function, version, head)
        else:
            break
    if function.starved_at is not None and not view.growing:
        lines.leave(c, function)
    if not queue.length:
        return
    for number in version.busy:  # perhaps one that climbs for a request of a lower class
        holdings.hurry(c, c.store.holdings[c.store.instances[number].key], queue.rank)
    if version.leased:
        _claim_lent(c, function, version)
    if version.live and queue.length > 1 and c.now_s >= function.retry_at_s:
        # The head waits for what serves already, but the last in the queue may be better off with one more.
        last = dispatch.decide(view, queue.length - 1, c.now_s, c.rng)
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
        elif gateway in instance.leases:
            lending.widen(c, instance, gateway)
        wanted -= 1


def _grow_under_leases(c: Context, function: Function, version: Version) -> None:
    """No request waits here, but in the sockets of lent workers they may wait longer than a climb takes."""
    view = FunctionView(c, function, version)
    if not view.pressed or c.now_s < function.retry_at_s:
        return
    outcomes.give_up_overdue(c, version)
    if not view.can_grow:
        return
    try:
        if c.policies.dispatch.decide(view, 0, c.now_s, c.rng).action == "climb":
            growth.grow(c, function, version)
    except NoSpace as error:
        function.note(error.message)


def _keep_replicas(c: Context, function: Function, version: Version) -> None:
    try:
        for _ in range(replicas_wanted(c, function) - version.live):
            if not growth.grow(c, function, version, prime=True):
                break
    except NoSpace as error:
        function.note(error.message)


def _stage(c: Context, function: Function, version: Version) -> None:
    """After an answer the function's own zygote is made, for the next climb to start from."""
    facts = version.facts
    held = function.hold is not None or function.goal is not None
    if held or facts is None or facts.highest_step < Step.STAGED or version.staged_on or version.unstageable:
        function.stage_wanted = False
        return
    growth.stage(c, function, version, eager=True)


def on_prewarm_timer(c: Context, number: FunctionId) -> None:
    """The function's pre-warm policy wants an instance from now on, for as long as it would keep one that
    was just parked."""
    function = c.store.functions.get(number)
    if function is None or function.active is None:
        return
    version = c.store.versions[function.active]
    if version.on_device:
        return
    now = ParkedNow(number, c.now_s, version.spec.declaration.keep_warm_s)
    function.warm_until_s = prewarm_of(c, version).keep_until_s(now, c.now_s)
    c.touch(number)


def _prewarm(c: Context, function: Function, version: Version) -> None:
    """Starts the instance that is wanted, unless a request came meanwhile: that starts a climb itself, and
    the next time follows from its arrival."""
    held = function.hold is not None or function.goal is not None
    if held or version.live or function.queue.length or c.now_s >= function.warm_until_s:
        function.warm_until_s = 0.0
    elif c.now_s >= function.retry_at_s:
        try:
            if growth.grow(c, function, version, prime=True):
                function.warm_until_s = 0.0
        except NoSpace as error:
            function.warm_until_s = 0.0
            function.note(error.message)
