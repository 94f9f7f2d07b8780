"""Queues of requests, and the answers the controller gives by itself: refusals."""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.records import Function, Request
from glowplug.core.commands import Reject


def enqueue(c: Context, request: Request) -> None:
    c.store.requests[request.id] = request
    c.store.functions[request.function].queue[request.id] = None
    c.store.queued += 1


def requeue(c: Context, request: Request) -> None:
    """Back to the head of its queue: it was there first."""
    function = c.store.functions[request.function]
    request.state, request.retried = "queued", True
    function.queue = {request.id: None, **function.queue}
    c.store.queued += 1
    c.touch(function.id)


def dequeue(c: Context, request: Request) -> None:
    function = c.store.functions[request.function]
    del function.queue[request.id]
    c.store.queued -= 1
    if not function.queue:
        leave_line(c, function)


def leave_line(c: Context, function: Function) -> None:
    """The function no longer waits for memory; whoever stood behind it may try."""
    if function.starved_at is not None:
        node = c.store.nodes.get(function.starved_at)
        if node is not None:
            node.starved.pop(function.id, None)
            c.freed[node.id] = None
        function.starved_at = None


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
