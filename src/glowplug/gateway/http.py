"""HTTP: the ASGI application. Requests for functions take a short way, past the admin interface's router."""

from __future__ import annotations

import asyncio
from time import perf_counter

from glowplug.core.errors import GlowplugError, RequestCancelled, Unauthorized, Unavailable
from glowplug.core.ids import FunctionId
from glowplug.gateway.access import Access
from glowplug.gateway.admin import admin_app
from glowplug.gateway.answers import (
    Headers,
    Receive,
    Scope,
    Send,
    error_body,
    error_headers,
    json_headers,
    send_answer,
    send_error,
)
from glowplug.gateway.body import BodyReader, ClientLeft
from glowplug.gateway.flight import Flight
from glowplug.gateway.lifecycle import Gateway
from glowplug.gateway.metrics import CONTENT_TYPE
from glowplug.gateway.phases import server_timing
from glowplug.gateway.platform import Platform
from glowplug.gateway.target import PREFIX, parse_target, read_wishes
from glowplug.transport.connection import Reply
from glowplug.transport.frames import RequestMeta

WATCH_AFTER_S = 0.02
"""A request that is answered sooner pays for no task that listens for its client to leave."""
_NO_POST = b'{"error":{"code":"method_not_allowed","message":"functions are called with POST"}}'


class HttpGateway:
    """`POST /function/...` is answered here, health and metrics too; the rest goes to the admin interface."""

    def __init__(self, gateway: Gateway, platform: Platform) -> None:
        self._gateway = gateway
        self._platform = platform
        self._access = Access(gateway.settings)
        self._bodies = BodyReader(gateway.settings.max_body_bytes)
        self._admin = admin_app(gateway, platform)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"scope {scope['type']} is not served")
        path: str = scope["path"]
        try:
            self._access.check(path, scope["headers"])
        except Unauthorized as error:
            await send_error(send, error)
            return
        if path.startswith(PREFIX):
            await self._function(path, scope, receive, send)
        elif path == "/metrics":
            await send_answer(send, 200, CONTENT_TYPE, self._gateway.metrics.text(), [])
        elif path in ("/livez", "/healthz", "/readyz"):
            await self._health(path, send)
        else:
            await self._admin(scope, receive, send)

    async def _health(self, path: str, send: Send) -> None:
        """Alive is whoever answers; ready is who takes requests."""
        if path != "/livez" and (self._gateway.draining or not self._platform.ready()):
            why = "shutting down" if self._gateway.draining else "starting"
            await send_error(send, Unavailable(f"the server is {why}", 1.0))
            return
        await send_answer(send, 200, "text/plain", b"ok", [])

    async def _function(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await send_answer(send, 405, "application/json", _NO_POST, [(b"allow", b"POST")])
            return
        function: FunctionId | None = None
        started_at, reading = perf_counter(), False
        try:
            function, info, endpoint = parse_target(path, self._gateway.known)
            wishes = read_wishes(scope["headers"])
            timeout_s = info.timeout_s if wishes.timeout_s is None else min(wishes.timeout_s, info.timeout_s)
            reading = True
            body = await self._bodies.read(receive, wishes.content_bytes, timeout_s)
        except ClientLeft:
            return
        except GlowplugError as error:
            self._gateway.metrics.answered(function, error.status, perf_counter() - started_at, "", {})
            await (self._refuse(error, receive, send) if reading else send_error(send, error))
            return
        try:
            meta = RequestMeta(endpoint, wishes.content_type, wishes.accept)
            flight = self._gateway.begin(function, meta, body, timeout_s, wishes.priority)
        except GlowplugError as error:
            self._bodies.release(len(body))
            await send_error(send, error)
            return
        length = len(body)
        del body
        try:
            reply = await self._wait(flight, receive)
            await self._answer(flight, reply, send)
        finally:
            self._bodies.release(length)
            self._gateway.released()

    async def _refuse(self, error: GlowplugError, receive: Receive, send: Send) -> None:
        """Answers before the body was read, and reads on for a while before the connection closes: a client
        that still writes would otherwise see it reset, and never the answer."""
        body = error_body(error)
        headers = [*json_headers(body), *error_headers(error), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await self._bodies.discard(receive)
        await send({"type": "http.response.body", "body": b""})

    async def _wait(self, flight: Flight, receive: Receive) -> Reply:
        if flight.answer.done():
            return flight.answer.result()
        watch = _Watch(self._gateway, flight, receive)
        try:
            return await flight.answer
        except asyncio.CancelledError:
            self._gateway.invoker.abandon(flight)
            raise
        finally:
            watch.stop()

    async def _answer(self, flight: Flight, reply: Reply, send: Send) -> None:
        phases, origin = self._gateway.finish(flight, reply, perf_counter() - flight.started_at)
        headers: Headers = [
            (b"server-timing", server_timing(phases).encode()),
            (b"x-glowplug-request", b"%d" % flight.request),
        ]
        if origin:
            headers.append((b"x-glowplug-origin", origin.encode("latin-1")))
        if reply.error is None:
            await send_answer(send, reply.status, reply.content_type, reply.body, headers)
        elif not isinstance(reply.error, RequestCancelled):
            headers += error_headers(reply.error)
            await send_answer(send, reply.status, "application/json", error_body(reply.error), headers)


class _Watch:
    """Waits, beside the answer, for the client to leave and for the deadline."""

    def __init__(self, gateway: Gateway, flight: Flight, receive: Receive) -> None:
        self._gateway = gateway
        self._flight = flight
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(WATCH_AFTER_S, self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._listen())
        self._watch_limit()

    def _watch_limit(self) -> None:
        limit_s = self._gateway.invoker.limit_s(self._flight)
        if limit_s > 0:
            self._timer = self._loop.call_later(limit_s, self._watch_limit)
        else:
            self._gateway.invoker.expire(self._flight)

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gateway.invoker.leave(self._flight)

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
