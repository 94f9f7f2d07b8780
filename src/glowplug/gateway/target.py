"""What a request asks for, read from its path and headers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from urllib.parse import unquote

import msgspec

from glowplug.core.errors import EncodedBody, UnknownEndpoint, UnknownFunction, UserError
from glowplug.core.ids import FunctionId, parse_function_id
from glowplug.core.priority import parse_priority
from glowplug.gateway.flight import FunctionInfo, Known
from glowplug.transport.frames import MAX_HEADER_VALUE_CHARS, RequestMeta

PREFIX, ASYNC_PREFIX = "/function/", "/async-function/"


class Wishes(msgspec.Struct):
    """What the headers say. `timeout_s` and `content_bytes` are None when they do not."""

    content_type: str = ""
    accept: str = ""
    content_bytes: int | None = None
    timeout_s: float | None = None
    priority: int = 0


class Target(msgspec.Struct, frozen=True):
    """One endpoint of a function, and how it is asked."""

    function: FunctionId
    info: FunctionInfo
    meta: RequestMeta
    """Without a deadline, which is each request's own."""
    wishes: Wishes

    @property
    def timeout_s(self) -> float:
        wanted_s = self.wishes.timeout_s
        return self.info.timeout_s if wanted_s is None else min(wanted_s, self.info.timeout_s)


def read_target(path: bytes, headers: Iterable[tuple[bytes, bytes]], known: Known) -> Target:
    """Reads the path and headers of a request for a function, as they came.

    Raises InvalidName, UnknownFunction, UnknownEndpoint, and UserError naming a header that makes no sense.
    """
    text = path.partition(b"?")[0].decode("latin-1")
    function, info, endpoint = parse_target(unquote(text) if "%" in text else text, known)
    wishes = read_wishes(headers)
    return Target(function, info, RequestMeta(endpoint, wishes.content_type, wishes.accept), wishes)


def parse_target(path: str, known: Known) -> tuple[FunctionId, FunctionInfo, str]:
    """Reads `/function/{name}[.namespace][/endpoint]`.

    Raises InvalidName, UnknownFunction, UnknownEndpoint.
    """
    name, _, endpoint = path[len(PREFIX) :].partition("/")
    function = parse_function_id(name)
    info = known(function)
    if info is None:
        raise UnknownFunction(f"no function is called {function}: see `glowplug ps`, or deploy it")
    if not endpoint:
        return function, info, info.endpoints[0] if info.endpoints else ""
    if endpoint not in info.endpoints:
        shown = endpoint if len(endpoint) <= 80 else endpoint[:77] + "..."
        raise UnknownEndpoint(f"{function} has no endpoint {shown!r}; it has {', '.join(info.endpoints)}")
    return function, info, endpoint


def read_wishes(headers: Iterable[tuple[bytes, bytes]]) -> Wishes:
    """Raises UserError naming the header that makes no sense, EncodedBody."""
    wishes = Wishes()
    for name, value in headers:
        if name == b"content-type":
            wishes.content_type = value.decode("latin-1")
            if len(value) > MAX_HEADER_VALUE_CHARS:
                raise UserError(f"the Content-Type exceeds {MAX_HEADER_VALUE_CHARS} characters")
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise EncodedBody("bodies are taken as they are: send it without Content-Encoding")
        elif name == b"accept":
            wishes.accept = value[:1000].decode("latin-1")
        elif name == b"content-length":
            wishes.content_bytes = _number(name, value, 0, math.inf, int)
        elif name == b"x-glowplug-timeout":
            wishes.timeout_s = _number(name, value, 1e-3, math.inf, float)
        elif name == b"x-glowplug-priority":
            wishes.priority = _priority(value)
    return wishes


def _priority(value: bytes) -> int:
    try:
        return parse_priority(value.decode("latin-1"))
    except ValueError as error:
        raise UserError(f"header x-glowplug-priority: {error}") from None


def _number(name: bytes, value: bytes, least: float, most: float, kind: type[int] | type[float]) -> int:
    try:
        found = kind(value)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        shown = value[:40].decode("latin-1")
        wanted = f"from {least:g} to {most:g}" if most < math.inf else f"of {least:g} or more"
        raise UserError(f"header {name.decode()}: {shown!r} is not a number {wanted}")
    return found  # type: ignore[return-value]
