"""What a request of the admin interface asks for, read and checked."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from glowplug.core.errors import (
    UNREADABLE,
    BodyTooLarge,
    DeadlinePassed,
    InvalidArguments,
    InvalidDeclaration,
    RequestCancelled,
    UnknownRequest,
    UserError,
)
from glowplug.core.ids import (
    FunctionId,
    RequestId,
    check_name,
    check_variable,
    function_id,
    parse_function_id,
)
from glowplug.core.status import LOG_STREAMS, LogQuery
from glowplug.core.units import parse_seconds, show_bytes
from glowplug.gateway.platform import Secret, SecretName

_MAX_BODY_BYTES = 2**20
BODY_S = 30.0
"""A body, here of a few KB, has so long to come."""
STALL_S = 60.0
"""An upload may take its time, but not stand still for so long."""
_MAX_SECRET_CHARS = 16_384
_MAX_GREP_CHARS = 1000
_MOST_DIGITS = 18
T = TypeVar("T")


def function_of(request: Request, name: str | None = None) -> FunctionId:
    """`name.namespace`, or OpenFaaS's way: the namespace as a query parameter."""
    name = request.path_params["name"] if name is None else name
    namespace = request.query_params.get("namespace")
    if namespace is None or "." in name:
        return parse_function_id(name)
    return function_id(name, namespace)


async def read_body(request: Request, into: type[T], empty: T | None = None) -> T:
    """The body as `into`. Raises UserError when it is not JSON, InvalidArguments naming the wrong field."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_BODY_BYTES:
                    raise BodyTooLarge(f"a request here may have {show_bytes(_MAX_BODY_BYTES)}")
    except TimeoutError:
        raise DeadlinePassed(f"the body did not arrive within {BODY_S:.0f} s") from None
    except ClientDisconnect:
        raise RequestCancelled("the client left before its request was whole") from None
    if not body and empty is not None:
        return empty
    try:
        return msgspec.json.decode(body, type=into)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`") or None
        raise InvalidArguments(f"{field}: {text}" if field else text, field) from None
    except UNREADABLE as error:
        raise UserError(f"the body is not valid JSON: {error}") from None


async def bounded(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body's chunks. Raises BodyTooLarge, and DeadlinePassed when nothing comes for a while."""
    length = 0
    chunks = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(STALL_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise DeadlinePassed(f"nothing of the upload came for {STALL_S:.0f} s") from None
        length += len(chunk)
        if length > limit:
            raise BodyTooLarge(f"an upload may have {show_bytes(limit)}")
        if chunk:
            yield chunk


def check_secret(secret: SecretName) -> None:
    """Raises InvalidName, or InvalidArguments when it is a Secret whose value cannot be a variable's."""
    check_name(secret.namespace, "namespace")
    check_variable(secret.name, "secret")
    if isinstance(secret, Secret) and (
        "\0" in secret.value or not 0 < len(secret.value) <= _MAX_SECRET_CHARS
    ):
        raise InvalidArguments(
            f"value: a secret has 1 to {_MAX_SECRET_CHARS} characters, none of them zero", "value"
        )


def count(text: str | None, field: str) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise InvalidArguments(f"{field}: {text[:40]!r} is not a count", field)
    return int(text)


def request_of(request: Request) -> RequestId:
    """The request that a path names. Raises UnknownRequest for what is no number of one."""
    text = request.path_params["request"]
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise UnknownRequest(f"no request {text[:40]!r}: its number is expected")
    return RequestId(int(text))


def log_query(query: Mapping[str, str], now_s: float) -> LogQuery:
    """`instance`, `stream`, `since` and `grep` as they stand in a URL."""
    stream, grep = query.get("stream"), query.get("grep", "")
    if stream not in (None, *LOG_STREAMS):
        raise InvalidArguments(f"stream: {stream[:40]!r} is none of {', '.join(LOG_STREAMS)}", "stream")
    if len(grep) > _MAX_GREP_CHARS:
        raise InvalidArguments(f"grep: a text of at most {_MAX_GREP_CHARS} characters", "grep")
    instance = count(query.get("instance"), "instance")
    return LogQuery(instance, stream, moment(query.get("since"), now_s), grep)


def moment(text: str | None, now_s: float) -> float | None:
    """Epoch seconds out of those, of RFC 3339 as OpenFaaS sends it, or of a duration before now: `10m`."""
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        found = float(text)
        if math.isfinite(found):
            return found
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromisoformat(text).timestamp()
    with contextlib.suppress(InvalidDeclaration):
        return now_s - parse_seconds(text)
    raise InvalidArguments(
        f"since: {text[:40]!r} is no time; write for example '10m' or '2026-01-31T12:00:00Z'", "since"
    )
