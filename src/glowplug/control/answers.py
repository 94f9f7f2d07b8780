"""Queues of requests, and the answers the controller gives by itself: refusals."""

from __future__ import annotations

from glowplug.control import lines
from glowplug.control.context import Context
from glowplug.control.fleet import queues
from glowplug.control.records import Function, Request
from glowplug.core.commands import Reject


def enqueue(c: Context, request: Request) -> None:
    store = c.store
    function, fleet = store.functions[request.function], store.fleet
    store.requests[request.id] = request
    function.queue.add(request.id, request.rank)
    store.waiting.add(request.id, request.rank)
    if function.on_device:
        fleet.tally.arrived(found=function.id in fleet.where)
        queues.join(fleet, request)


def requeue(c: Context, request: Request) -> None:
    """Puts it back at the head of its class: it was there first."""
    function = c.store.functions[request.function]
    request.state, request.retried = "queued", True
    function.queue.add_first(request.id, request.rank)
    c.store.waiting.add_first(request.id, request.rank)
    if function.on_device:
        queues.join(c.store.fleet, request, first=True)
    c.touch(function.id)


def take(c: Context, function: Function) -> Request:
    """Takes the request whose turn it is out of its queue."""
    request = c.store.requests[function.queue.take()]
    _dequeued(c, function, request)
    return request


def dequeue(c: Context, request: Request) -> None:
    """Takes it out of its queue before its turn."""
    function = c.store.functions[request.function]
    function.queue.remove(request.id, request.rank)
    _dequeued(c, function, request)


def _dequeued(c: Context, function: Function, request: Request) -> None:
    c.store.waiting.remove(request.id, request.rank)
    if function.on_device:
        queues.leave(c.store.fleet, request)
    if function.starved_at is not None and not (function.queue.length or function.lined):
        lines.leave(c, function)


def reject(c: Context, request: Request, code: str, message: str, retry_after_s: float | None = None) -> None:
    """Answers a request that is in no queue and no instance any more, and forgets it."""
    c.store.requests.pop(request.id, None)
    c.store.functions[request.function].rejected += 1
    refuse(c, request, code, message, retry_after_s)


def refuse(c: Context, request: Request, code: str, message: str, retry_after_s: float | None = None) -> None:
    c.emit(
        Reject(
            id=c.command_id(),
            request=request.id,
            gateway=request.gateway,
            code=code,
            message=message,
            retry_after_s=retry_after_s,
        )
    )


def reject_queue(c: Context, function: Function, code: str, message: str) -> None:
    for number in list(function.queue):
        request = c.store.requests[number]
        dequeue(c, request)
        reject(c, request, code, message, 1.0 if code in ("unavailable", "no_space") else None)
