"""Spawned calls go the way of every request: the same leases, queue, deadline, metrics and traces."""

from __future__ import annotations

import asyncio
from time import perf_counter

import msgspec

from glowplug.calls.states import Outcome
from glowplug.core.calls import CallError, CallRecord
from glowplug.core.errors import BodyTooLarge, GlowplugError, UnknownEndpoint, UnknownFunction
from glowplug.core.ids import FunctionId
from glowplug.core.units import show_bytes
from glowplug.gateway.flight import Flight
from glowplug.gateway.lifecycle import Gateway
from glowplug.transport.connection import NeverRead, Reply
from glowplug.transport.frames import RequestMeta


class GatewayDispatcher:
    """Implements calls.runner.Dispatcher."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def idempotent(self, function: FunctionId, endpoint: str) -> bool:
        info = self._gateway.known(function)
        return info is not None and endpoint in info.idempotent

    def room(self, function: FunctionId) -> int:
        info = self._gateway.known(function)
        return 1 if info is None else info.max_queue // 2

    async def run(self, call: CallRecord, body: bytes) -> Outcome:
        answer = _Answer(self._gateway)
        try:
            flight = self._begin(call, body, answer)
        except GlowplugError as error:
            return _failed(error, ran=False)
        del body
        try:
            reply = await answer.whole
        except asyncio.CancelledError:
            self._gateway.invoker.leave(flight)
            raise
        finally:
            self._gateway.released()
        self._gateway.finish(flight, reply, perf_counter() - flight.started_at)
        if reply.error is not None:
            return _failed(
                reply.error, flight.instance is not None and not isinstance(reply.error, NeverRead)
            )
        return Outcome(True, content_type=reply.content_type, body=reply.body)

    def _begin(self, call: CallRecord, body: bytes, answer: _Answer) -> Flight:
        gateway = self._gateway
        info = gateway.known(call.function)
        if info is None:
            raise UnknownFunction(f"no function is called {call.function} any more")
        if call.endpoint not in info.endpoints:
            raise UnknownEndpoint(f"{call.function} has no endpoint {call.endpoint!r} any more")
        timeout_s = info.timeout_s if call.timeout_s is None else min(call.timeout_s, info.timeout_s)
        timeout_s = max(0.001, min(timeout_s, call.deadline_s - gateway.clock()))
        meta = RequestMeta(call.endpoint, call.content_type, call.accept)
        return gateway.begin(call.function, meta, body, timeout_s, answer, call.priority, perf_counter())


class _Answer:
    """Waits for a flight's answer (flight.Client); of a stream, for all of it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._most_bytes = gateway.settings.max_body_bytes
        self._first: Reply | None = None
        self._chunks: list[bytes] = []
        self._length = 0
        self.whole: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def answered(self, flight: Flight, reply: Reply) -> None:
        if reply.stream:
            self._first = reply
        else:
            self._settle(reply)

    def chunk(self, flight: Flight, data: bytes) -> None:
        self._length += len(data)
        if self._length > self._most_bytes:
            most = show_bytes(self._most_bytes)
            error = BodyTooLarge(f"the result of a spawned call may have {most} on this server")
            self._settle(Reply(error.status, "", b"", {}, "", error))
            self._chunks = []
            self._gateway.invoker.leave(flight)
            return
        self._chunks.append(data)
        self._gateway.invoker.credit(flight, len(data))

    def ended(self, flight: Flight, reply: Reply) -> None:
        if reply.error is None and self._first is not None:
            reply = msgspec.structs.replace(
                reply, status=self._first.status, content_type=self._first.content_type,
                body=b"".join(self._chunks), phases=self._first.phases | reply.phases,
            )  # fmt: skip
        self._settle(reply)

    def _settle(self, reply: Reply) -> None:
        if not self.whole.done():
            self.whole.set_result(reply)


def _failed(error: GlowplugError, ran: bool) -> Outcome:
    return Outcome(ran, CallError(error.code, error.message, error.status), error.retry_after_s)
