"""Requests: admission, deadlines, cancellation."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf

from glowplug.control import answers, bindings, instances, lending, overdue
from glowplug.control.context import Context
from glowplug.control.fleet import lines as device_lines
from glowplug.control.preloading import drive
from glowplug.control.queues import Queue
from glowplug.control.records import Function, Request, Version
from glowplug.control.wants import prewarm_of
from glowplug.core.commands import Cancel
from glowplug.core.events import RequestArrived, RequestCancelled, RequestStarted
from glowplug.core.ids import RequestId
from glowplug.core.priority import PASSED_OVER

DEADLINE_TIMER = "deadline"
_STALE_ALLOWED = 64


def on_arrived(c: Context, event: RequestArrived) -> None:
    """Queues the request or refuses it. Where it is sent is decided when the event is settled."""
    store = c.store
    if event.request in store.requests:
        return
    if event.gateway not in store.gateways:
        store.gateways[event.gateway] = None
        if len(store.gateways) == 1:
            # What climbed for nobody yet is for this one, as what climbs from now on.
            for version in store.versions.values():
                lending.lend_idle(c, version, event.gateway)
    request = Request(
        id=event.request,
        function=event.function,
        gateway=event.gateway,
        deadline_s=event.deadline_s,
        arrived_s=c.now_s,
        rank=event.priority,
    )
    function = store.functions.get(event.function)
    if function is None or function.gone:
        answers.refuse(c, request, "unknown_function", f"no function {event.function}: deploy it first")
        return
    function.arrived += 1
    if function.active is None and function.next is None:
        answers.reject(c, request, function.code or "build_failed", function.error or "it was never built")
        return
    if event.deadline_s <= c.now_s:
        answers.reject(c, request, "deadline_passed", f"{function.id}: the deadline had passed on arrival")
        return
    version = _answering(c, function)
    if request.rank not in PASSED_OVER:
        request.rank = version.rank
    function.goal = function.hold = None
    c.policies.arrivals.observe(function.id, c.now_s)
    c.policies.arrivals.observe(version.environment, c.now_s)
    tell_predictors(c, function)
    if version.leased and len(store.gateways) > 1:
        lending.share(c, version, event.gateway)
    if not _admit(c, function, version, request):
        return
    answers.enqueue(c, request)
    _watch_deadline(c, request)
    c.touch(function.id)


def tell_predictors(c: Context, function: Function) -> None:
    """A request came for the function, reported by itself or as part of a gateway's report."""
    drive.arrived(c, function.id)
    if function.active is None and function.next is None:
        return  # it was undeployed, and what still runs of it reports
    warm_from_s = prewarm_of(c, _answering(c, function)).arrived(function.id, c.now_s)
    if warm_from_s < inf:
        c.set_timer(f"prewarm:{function.id}", warm_from_s)
    else:
        c.clear_timer(f"prewarm:{function.id}")


def _answering(c: Context, function: Function) -> Version:
    """The version that will answer: the active one, else the first, which is still being built."""
    number = function.active if function.active is not None else function.next
    assert number is not None
    return c.store.versions[number]


def _admit(c: Context, function: Function, version: Version, request: Request) -> bool:
    queue, waiting = function.queue, c.store.waiting
    if version.idle and not queue.length:
        return True
    declared = version.spec.declaration
    queued = queue.length + function.lined
    if queued >= declared.max_queue and (queued or not _may_be_sent_at_once(version)):
        run_s = c.policies.costs.expect_s(version.spec.version, "run")
        wait_s = max(0.1, queued * run_s / max(1, version.live * declared.target_concurrency))
        words = f"{function.id}: {queued} requests wait already (max_queue)"
        if not _make_room(c, queue, request, "queue_full", words, wait_s):
            return False
    waiting_over_all = waiting.length + c.store.fleet.lined
    if waiting_over_all >= c.settings.max_queued:
        words = f"{waiting_over_all} requests wait over all functions"
        return _make_room(c, waiting, request, "overloaded", words, 1.0)
    return True


def _make_room(c: Context, queue: Queue, request: Request, code: str, words: str, wait_s: float) -> bool:
    """If there is no room, the newest request of the lowest class goes. That may be the one that just
    came."""
    victim = queue.newest_below(request.rank)
    if victim is None:
        answers.reject(c, request, code, words, wait_s)
        return False
    displaced = c.store.requests[victim]
    answers.dequeue(c, displaced)
    answers.reject(c, displaced, code, f"{words}; one of a higher class took its place", wait_s)
    c.touch(displaced.function)
    return True


def _may_be_sent_at_once(version: Version) -> bool:
    """A function without a queue (max_queue=0) still takes the request that starts its first instance, or
    for whom one climbs already that nobody waits for."""
    return version.live == 0 or bool(version.climbing)


def _watch_deadline(c: Context, request: Request) -> None:
    store = c.store
    if len(store.deadlines) > _STALE_ALLOWED + 2 * len(store.requests):
        live = store.requests
        # What was answered in time is forgotten before its deadline comes up.
        store.deadlines = [entry for entry in store.deadlines if not _is_answered(live.get(entry[1]))]
        heapify(store.deadlines)
    heappush(store.deadlines, (request.deadline_s, request.id))
    armed_s = store.timers.get(DEADLINE_TIMER)
    if armed_s is None or request.deadline_s < armed_s:
        _arm_deadline(c)


def _arm_deadline(c: Context) -> None:
    """One timer for all: set to the earliest deadline, which may be of a request long answered."""
    deadlines = c.store.deadlines
    if not deadlines:
        return
    armed_s = c.store.timers.get(DEADLINE_TIMER)
    if armed_s is None or deadlines[0][0] < armed_s:
        c.set_timer(DEADLINE_TIMER, deadlines[0][0])


def on_deadline(c: Context) -> None:
    deadlines, requests = c.store.deadlines, c.store.requests
    while deadlines and (deadlines[0][0] <= c.now_s or _is_answered(requests.get(deadlines[0][1]))):
        _, number = heappop(deadlines)
        request = requests.get(number)
        if request is None or request.state == "cancelling":
            continue
        message = f"{request.function} did not answer before the deadline"
        if request.state in ("queued", "lined"):
            if c.store.functions[request.function].active is None:
                message += ": it was still being built"
            device_lines.withdraw(c, request)
            answers.reject(c, request, "deadline_passed", message)
            c.touch(request.function)
        else:
            c.store.functions[request.function].rejected += 1
            answers.refuse(c, request, "deadline_passed", message)
            _stop(c, request)
    _arm_deadline(c)


def _is_answered(request: Request | None) -> bool:
    return request is None or request.state == "cancelling"


def on_cancelled(c: Context, event: RequestCancelled) -> None:
    request = c.store.requests.get(event.request)
    if request is None:
        _stop_leased(c, event)
        return
    if request.state == "cancelling":
        return
    function = c.store.functions[request.function]
    function.cancelled += 1
    if request.state in ("queued", "lined"):
        device_lines.withdraw(c, request)
        del c.store.requests[request.id]
        c.touch(function.id)
    else:
        _stop(c, request)


def _stop_leased(c: Context, event: RequestCancelled) -> None:
    """A request that a gateway sent under a lease, which only the gateway knows of."""
    instance = c.store.instances.get(event.instance) if event.instance is not None else None
    if instance is not None and instance.leases:
        grace_s = c.settings.cancel_grace_s
        c.emit(Cancel(id=c.command_id(), request=event.request, instance=instance.id, grace_s=grace_s))


def _stop(c: Context, request: Request) -> None:
    """It is answered already. Its instance is free once the engine says that the request ended there."""
    request.state = "cancelling"
    assert request.instance is not None
    instance = c.store.instances[request.instance]
    bindings.stop_cancelled(c, instance)
    if c.store.functions[request.function].queue and overdue.is_overdue(c, instance, c.holding_of(instance)):
        c.touch(request.function)


def on_cancel_overdue(c: Context, number: RequestId) -> None:
    request = c.store.requests.get(number)
    if request is not None and request.instance is not None:
        instances.kill(c, c.store.instances[request.instance], "a cancelled request did not end")


def on_started(c: Context, event: RequestStarted) -> None:
    request = c.store.requests.get(event.request)
    if request is not None and request.instance == event.instance:
        request.started = True
