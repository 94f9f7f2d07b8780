"""Errors and answers as HTTP."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from glowplug.core.errors import GlowplugError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


def error_body(error: GlowplugError) -> bytes:
    """`{"error": {"code", "message", "field"?}}`."""
    facts = {"code": error.code, "message": error.message}
    field = getattr(error, "field", None)
    if field is not None:
        facts["field"] = field
    return msgspec.json.encode({"error": facts})


def error_headers(error: GlowplugError) -> Headers:
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def json_headers(body: bytes) -> Headers:
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]


async def send_answer(send: Send, status: int, content_type: str, body: bytes, headers: Headers) -> None:
    headers.append((b"content-type", content_type.encode("latin-1")))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: GlowplugError) -> None:
    await send_answer(send, error.status, "application/json", error_body(error), error_headers(error))
