"""One request between its arrival at a gateway and its answer."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Protocol

import msgspec

from glowplug.core.errors import DeadlinePassed, GlowplugError
from glowplug.core.ids import FunctionId, InstanceId, RequestId
from glowplug.transport.connection import Body, Reply
from glowplug.transport.frames import RequestMeta


class FunctionInfo(msgspec.Struct, frozen=True):
    """What a gateway must know of a function to take a request for it. The first endpoint is the default."""

    endpoints: tuple[str, ...]
    timeout_s: float = 60.0
    max_queue: int = 100
    idempotent: frozenset[str] = frozenset()
    """Endpoints that may answer one call twice."""


Known = Callable[[FunctionId], FunctionInfo | None]


class Client(Protocol):
    """Whoever waits for a flight's answer. Called from the event loop; none of it may block or raise."""

    def answered(self, flight: Flight, reply: Reply) -> None:
        """Once, with the answer; perhaps before `begin` has returned the flight. When `reply.stream`, chunks
        follow, and at last `ended`."""

    def chunk(self, flight: Flight, data: bytes) -> None:
        """A part of a streamed answer. Whoever takes it gives credit for it (Invoker.credit)."""

    def ended(self, flight: Flight, reply: Reply) -> None:
        """The end of a streamed answer; with `reply.error` it broke off."""


class Flight:
    """A request in flight. It is answered exactly once, by whoever knows first: the worker, the controller's
    refusal, the deadline, or the client that left."""

    __slots__ = (
        "again", "answered", "arrived_s", "body", "client", "deadline_s", "dispatched_at", "expired",
        "function", "instance", "leased", "meta", "priority", "request", "slot", "started_at", "streaming",
    )  # fmt: skip

    def __init__(
        self,
        request: RequestId,
        function: FunctionId,
        meta: RequestMeta,
        body: Body,
        arrived_s: float,
        deadline_s: float,
        client: Client,
        expired: Callable[[Flight], None],
        started_at: float,
        priority: int = 0,
    ) -> None:
        self.request = request
        self.function = function
        self.meta = meta
        self.body: Body | None = body
        """None once it is not kept any more."""
        self.priority = priority
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        """In the gateway's clock, as `arrived_s`."""
        self.client = client
        self.expired = expired
        self.started_at = started_at
        """perf_counter() when it arrived; `dispatched_at` when it was sent."""
        self.dispatched_at: float | None = None
        self.instance: InstanceId | None = None
        self.leased = False
        self.again = False
        """It was asked for again, since its first worker died before it began."""
        self.answered = False
        self.streaming = False
        """It was answered by a stream that has not ended."""
        self.slot = 0

    @property
    def queue_s(self) -> float:
        until = perf_counter() if self.dispatched_at is None else self.dispatched_at
        return until - self.started_at

    def settle(self, reply: Reply) -> None:
        """The answer, or a stream's end; nothing when there is one already."""
        if not self.answered:
            self.answered = True
            self.streaming = reply.stream
            if not reply.stream:
                self.body = None
            self.client.answered(self, reply)
        elif self.streaming and not reply.stream:
            self.streaming = False
            self.body = None
            self.client.ended(self, reply)

    def expire(self) -> None:
        """Its deadline passed (deadlines.Waits)."""
        self.expired(self)


def error_reply(error: GlowplugError) -> Reply:
    return Reply(error.status, "application/json", b"", {}, "", error)


def late(flight: Flight, message: str, info: FunctionInfo | None) -> DeadlinePassed:
    """The message of a request that ran out of time: how much it had, and who can give it more."""
    time_s = round(flight.deadline_s - flight.arrived_s, 3)
    is_own = info is not None and time_s >= round(info.timeout_s, 3)
    more = ", which the function's own timeout= sets: raise that" if is_own else ""
    return DeadlinePassed(f"{message}; it had {time_s:g} s{more}")


class Place(msgspec.Struct, frozen=True):
    """Which of how many gateways beside each other this one is; the first is 0."""

    number: int = 0
    count: int = 1


ALONE = Place()


def new_request_ids(now_s: float, place: Place = ALONE) -> Callable[[], RequestId]:
    """Ids that no earlier gateway gave, as long as it gave fewer than four million a second, divided by those
    beside it, and that none beside it gives: modulo their count they are its number. Below 2**53, so that
    they survive JSON everywhere."""
    step = place.count
    last = int((now_s - 1.7e9) * 16) << 18
    last += place.number - last % step

    def following() -> RequestId:
        nonlocal last
        last += step
        return RequestId(last)

    return following
