"""`POST /async-function/...`, in OpenFaaS's shape: answered with 202 and the call's id once it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from glowplug.calls.desk import CallDesk, SpawnRequest
from glowplug.core.calls import CallRecord
from glowplug.core.errors import DeadlinePassed, GlowplugError, MethodNotAllowed, Unavailable, UserError
from glowplug.core.ids import FunctionId
from glowplug.core.priority import Priority
from glowplug.gateway.answers import Headers, Receive, Scope, Send, send_answer, send_error
from glowplug.gateway.body import BodyBudget
from glowplug.gateway.lifecycle import Gateway
from glowplug.gateway.target import ASYNC_PREFIX, PREFIX, parse_target, read_wishes

_READ_S = 60.0
_MAX_KEY_CHARS = 255


class _ClientLeft(Exception):
    """The connection closed before the body was complete."""


class _Options(msgspec.Struct):
    key: str | None = None
    callback_url: str | None = None
    deadline_s: float | None = None


class SpawnGateway:
    """An ASGI application for paths that begin with ASYNC_PREFIX."""

    def __init__(self, gateway: Gateway, bodies: BodyBudget, calls: CallDesk) -> None:
        self._gateway = gateway
        self._bodies = bodies
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            call, is_new = await self._spawn(scope, receive)
        except _ClientLeft:
            return
        except GlowplugError as error:
            await send_error(send, error)
            return
        headers: Headers = [
            (b"x-call-id", call.id.encode()),
            (b"x-function-name", call.function.encode()),
            (b"location", f"/system/calls/{call.id}".encode()),
        ]
        if not is_new:
            headers.append((b"idempotency-replayed", b"true"))
        await send_answer(send, 202, "application/json", msgspec.json.encode(call), headers)

    async def _spawn(self, scope: Scope, receive: Receive) -> tuple[CallRecord, bool]:
        if scope["method"] != "POST":
            raise MethodNotAllowed("functions are called with POST")
        if self._gateway.draining:
            raise Unavailable("the server is shutting down", 1.0)
        function, info, endpoint = parse_target(
            PREFIX + scope["path"][len(ASYNC_PREFIX) :], self._gateway.known
        )
        wishes = read_wishes(scope["headers"])
        options = _read_options(scope["headers"])
        body = await self._read(receive, wishes.content_bytes or 0)
        try:
            request = SpawnRequest(
                FunctionId(function), endpoint, wishes.content_type, wishes.accept,
                idempotent=endpoint in info.idempotent,
                priority=wishes.priority or Priority.BACKGROUND,
                timeout_s=wishes.timeout_s, deadline_s=options.deadline_s, key=options.key,
                callback_url=options.callback_url,
            )  # fmt: skip
            return await self._calls.spawn(request, body)
        finally:
            self._bodies.release(len(body))

    async def _read(self, receive: Receive, announced_bytes: int) -> bytes:
        """The whole body, to be given back to the budget. Raises BodyTooLarge, Overloaded, DeadlinePassed."""
        self._bodies.check(announced_bytes)
        chunks: list[bytes] = []
        length = 0
        try:
            async with asyncio.timeout(_READ_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _ClientLeft
                    chunk: bytes = message.get("body", b"")
                    self._bodies.hold(length + len(chunk), len(chunk))
                    length += len(chunk)
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except BaseException as error:
            self._bodies.release(length)
            if isinstance(error, TimeoutError):
                raise DeadlinePassed(f"the body did not arrive within {_READ_S:g} s") from None
            raise


def _read_options(headers: Iterable[tuple[bytes, bytes]]) -> _Options:
    """Raises UserError naming the header that makes no sense."""
    options = _Options()
    for name, value in headers:
        if name == b"idempotency-key":
            options.key = value.decode("latin-1").strip().strip('"')
            if not 1 <= len(options.key) <= _MAX_KEY_CHARS or not options.key.isprintable():
                raise UserError(f"header idempotency-key: use 1 to {_MAX_KEY_CHARS} printable characters")
        elif name == b"x-callback-url":
            options.callback_url = value.decode("latin-1").strip()
        elif name == b"x-glowplug-deadline":
            options.deadline_s = _seconds(value)
    return options


def _seconds(value: bytes) -> float:
    try:
        found = float(value)
    except ValueError:
        found = 0.0
    if not 0.001 <= found < 1e9:
        shown = value[:40].decode("latin-1")
        raise UserError(f"header x-glowplug-deadline: {shown!r} is not a number of seconds")
    return found
