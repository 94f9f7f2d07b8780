"""Errors and answers as HTTP."""

from __future__ import annotations

import http
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


def _status_line(status: int) -> str:
    phrase = http.HTTPStatus(status).phrase if status in http.HTTPStatus._value2member_map_ else ""
    return f"HTTP/1.1 {status} {phrase}\r\n"


_STATUS_LINES = {status: _status_line(status) for status in range(200, 600)}


def head(status: int, headers: str, keep_alive: bool) -> bytes:
    """The head of an answer as it goes over the wire. `headers` are whole lines, ISO-8859-1, that were
    checked to hold no line of their own making."""
    end = "\r\n" if keep_alive else "connection: close\r\n\r\n"
    return f"{_STATUS_LINES[status]}{headers}{end}".encode("latin-1")


def error_lines(error: GlowplugError) -> str:
    """`error_headers` and the content type as lines for `head`."""
    lines = [f"{name.decode()}: {value.decode()}\r\n" for name, value in error_headers(error)]
    return "".join([*lines, "content-type: application/json\r\n"])


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
    elif error.status == 405:
        headers.append((b"allow", b"POST"))
    return headers


async def send_answer(send: Send, status: int, content_type: str, body: bytes, headers: Headers) -> None:
    headers.append((b"content-type", content_type.encode("latin-1")))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: GlowplugError) -> None:
    await send_answer(send, error.status, "application/json", error_body(error), error_headers(error))
