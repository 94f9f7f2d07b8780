"""One line of JSON for each request, whatever it asked for. Not there at all unless it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter, time
from typing import Protocol
from urllib.parse import unquote

import msgspec

from glowplug.core.errors import GlowplugError, RequestCancelled
from glowplug.gateway.answers import Message, Receive, Scope, Send
from glowplug.gateway.flight import Known
from glowplug.gateway.target import ASYNC_PREFIX, PREFIX, parse_target

_SHOWN_CHARS = 500
_TARGETS_KEPT = 10_000
_NO_PHASES = msgspec.Raw(b"{}")


class Entry(msgspec.Struct):
    """A request and what became of it. `path` is as it was sent, `status` 499 when the client left, and
    `phases` are seconds."""

    at_s: float
    client: tuple[str, int] | None
    method: bytes
    path: bytes
    status: int
    request: int
    origin: str
    phases: dict[str, float] | None
    received_bytes: int
    sent_bytes: int
    total_s: float


class Application(Protocol):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class AccessLogged:
    """Stands before an application and puts an entry for each request it answered."""

    def __init__(self, app: Application, put: Callable[[Entry], None]) -> None:
        self._app = app
        self._put = put

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, received_bytes, sent_bytes = RequestCancelled.status, 0, 0

        async def received() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            nonlocal status, sent_bytes
            status = message.get("status", status)
            sent_bytes += len(message.get("body", b""))
            await send(message)

        started_at = perf_counter()
        try:
            await self._app(scope, received, sent)
        except Exception:
            status = GlowplugError.status
            raise
        finally:
            total_s = perf_counter() - started_at
            self._put(
                Entry(
                    time(), scope["client"], scope["method"].encode(), scope["raw_path"], status, 0, "", None,
                    received_bytes, sent_bytes, total_s,
                )
            )  # fmt: skip


class _Line(msgspec.Struct):
    """What is written, in this order."""

    time: str
    request: int
    client: str
    method: str
    path: str
    function: str
    endpoint: str
    status: int
    origin: str
    total_ms: float
    phases_ms: msgspec.Raw
    received_bytes: int
    sent_bytes: int


class Lines:
    """Writes entries as JSON, at a few microseconds each: it shares the interpreter with the requests."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._targets: dict[bytes, tuple[str, str, str]] = {}
        self._second = 0
        self._shown_second = ""
        self._encoder = msgspec.json.Encoder()

    def line(self, entry: Entry) -> bytes:
        asked = entry.path.partition(b"?")[0]
        path, function, endpoint = self._targets.get(asked) or self._target(asked)
        client = f"{entry.client[0]}:{entry.client[1]}" if entry.client else ""
        return self._encoder.encode(
            _Line(
                self._moment(entry.at_s), entry.request, client, entry.method.decode(), path, function,
                endpoint, entry.status, entry.origin, round(entry.total_s * 1000, 3), _phases(entry.phases),
                entry.received_bytes, entry.sent_bytes,
            )
        )  # fmt: skip

    def lost(self, count: int) -> bytes:
        """What stands in place of lines that could not be written."""
        return self._encoder.encode({"time": self._moment(time()), "lost_lines": count})

    def _target(self, path: bytes) -> tuple[str, str, str]:
        """The path as it is shown, the function and the endpoint. Kept are those of functions that there
        are."""
        shown = path.decode("latin-1")
        asked = PREFIX + shown[len(ASYNC_PREFIX) :] if shown.startswith(ASYNC_PREFIX) else shown
        if not asked.startswith(PREFIX):
            return shown[:_SHOWN_CHARS], "", ""
        try:
            function, _, endpoint = parse_target(unquote(asked), self._known)
        except GlowplugError:
            return shown[:_SHOWN_CHARS], "", ""
        if len(self._targets) >= _TARGETS_KEPT:
            self._targets.clear()
        self._targets[path] = found = shown[:_SHOWN_CHARS], function, endpoint
        return found

    def _moment(self, at_s: float) -> str:
        second = int(at_s)
        if second != self._second:
            self._second = second
            self._shown_second = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._shown_second}.{int((at_s - second) * 1000):03d}Z"


def _phases(phases: dict[str, float] | None) -> msgspec.Raw:
    if not phases:
        return _NO_PHASES
    shown = [f'"{name}":{seconds * 1000:.3f}' for name, seconds in phases.items()]
    return msgspec.Raw(f"{{{','.join(shown)}}}".encode())
