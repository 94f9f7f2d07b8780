"""One request between its arrival at a gateway and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

import msgspec

from glowplug.core.errors import GlowplugError
from glowplug.core.ids import FunctionId, InstanceId, RequestId
from glowplug.transport.connection import Reply
from glowplug.transport.frames import RequestMeta


class FunctionInfo(msgspec.Struct, frozen=True):
    """What a gateway must know of a function to take a request for it. The first endpoint is the default."""

    endpoints: tuple[str, ...]
    timeout_s: float = 60.0


Known = Callable[[FunctionId], FunctionInfo | None]


class Flight:
    """A request in flight. `answer` is set exactly once, by whoever knows first: the worker, the controller's
    refusal, the deadline, or the client that left."""

    __slots__ = (
        "answer", "arrived_s", "body", "deadline_s", "dispatched_at", "function", "instance", "leased",
        "meta", "priority", "request", "started_at",
    )  # fmt: skip

    def __init__(
        self,
        request: RequestId,
        function: FunctionId,
        meta: RequestMeta,
        body: bytes | None,
        arrived_s: float,
        deadline_s: float,
        answer: asyncio.Future[Reply],
        started_at: float,
        priority: int = 0,
    ) -> None:
        self.request = request
        self.function = function
        self.meta = meta
        self.body = body
        self.priority = priority
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.answer = answer
        self.started_at = started_at
        """perf_counter() when it arrived; `dispatched_at` when it was sent, `arrived_s` in epoch seconds."""
        self.dispatched_at: float | None = None
        self.instance: InstanceId | None = None
        self.leased = False

    @property
    def queue_s(self) -> float:
        until = perf_counter() if self.dispatched_at is None else self.dispatched_at
        return until - self.started_at

    def settle(self, reply: Reply) -> None:
        """The answer, unless there is one already."""
        if not self.answer.done():
            self.answer.set_result(reply)

    def fail(self, error: GlowplugError) -> None:
        self.settle(error_reply(error))


def error_reply(error: GlowplugError) -> Reply:
    return Reply(error.status, "application/json", b"", {}, "", error)


def new_request_ids(now_s: float) -> Callable[[], RequestId]:
    """Ids that no earlier gateway gave, as long as it gave fewer than four million a second; below 2**53, so
    that they survive JSON everywhere."""
    last = int((now_s - 1.7e9) * 16) << 18

    def following() -> RequestId:
        nonlocal last
        last += 1
        return RequestId(last)

    return following
