"""Calls from outside: a light HTTP/1.1 client on kept connections, and arrivals that wait for nobody.

`http.client` would need a thread for each request in flight; this needs a few callbacks, so that on two cores
the load leaves the machine to what it loads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from glowplug.core.priority import PriorityLabel
from glowplug.core.rng import Rng

PRIORITY_HEADER = "x-glowplug-priority"
"""How a request says its class."""
GRACE_S = 6.0
"""How long after a request's deadline its answer may come: the gateway itself speaks 5 s after it at last."""
KEPT_S = 30.0
"""A connection that was idle for longer is not used again: the server may be about to close it."""
Kind = Literal["ok", "wrong", "refused", "failed", "broken", "unreachable", "hanging"]
Address = tuple[str, int]


class Outcome(msgspec.Struct, frozen=True):
    """One request. `kind` is `refused` for 429 and 503, `failed` for every other error that was answered,
    `broken` when the connection ended without an answer, `unreachable` when there was none, and `hanging`
    when neither answer nor end came before the deadline and the grace. `answer` is kept of what is odd.
    `origin` is where its worker stood when the request came: `parked`, or what it had to climb from."""

    kind: Kind
    sent_s: float
    took_s: float
    status: int = 0
    code: str = ""
    retry_after: bool = False
    answer: Any = None
    origin: str = ""


class Reply(msgspec.Struct, frozen=True):
    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Connection:
    """One kept connection; a request at a time. Every method raises OSError or EOFError when it broke."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> Reply:
        """Sends a whole request and reads a whole answer, whose length must be told."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        body = await self._reader.readexactly(int(headers[b"content-length"]))
        return Reply(int(first.split(b" ", 2)[1]), headers, body)

    @property
    def ended(self) -> bool:
        """Whether the other side has closed it."""
        return self._reader.at_eof()

    def close(self) -> None:
        self._writer.transport.abort()


class Caller:
    """Asks functions at an address that may change, on as many connections as there are requests in flight.

    `address` is asked for each request: None means that nobody is to be reached now.
    """

    def __init__(self, address: Callable[[], Address | None], grace_s: float = GRACE_S) -> None:
        self._address = address
        self._grace_s = grace_s
        self._idle: list[tuple[Address, Connection, float]] = []

    async def call(
        self, function: str, arguments: Any, right: Callable[[Any], bool], *,
        timeout_s: float = 5.0, priority: PriorityLabel | None = None, blanks: int = 0,
    ) -> Outcome:  # fmt: skip
        """One request and what became of it; never raises but when it is cancelled. So many `blanks` follow
        the arguments: a big body that means the same."""
        sent_s = time.monotonic()
        address = self._address()
        if address is None:
            return Outcome("unreachable", sent_s, 0.0)
        body = json.dumps(arguments).encode() + b" " * blanks
        request = _request(address, function, body, timeout_s, priority)
        connection: Connection | None = None
        reached = False
        try:
            async with asyncio.timeout(timeout_s + self._grace_s):
                connection = self._take(address) or await _connect(address)
                reached = True
                reply = await connection.ask(request)
        except TimeoutError:
            _close(connection)
            return Outcome("hanging", sent_s, time.monotonic() - sent_s)
        except (OSError, EOFError):
            _close(connection)
            kind: Kind = "broken" if reached else "unreachable"
            return Outcome(kind, sent_s, time.monotonic() - sent_s)
        except BaseException:
            _close(connection)
            raise
        took_s = time.monotonic() - sent_s
        if reply.headers.get(b"connection", b"").lower() == b"close":
            connection.close()
        else:
            self._idle.append((address, connection, time.monotonic()))
        return _judge(reply, right, sent_s, took_s)

    def close(self) -> None:
        for _, connection, _ in self._idle:
            connection.close()
        self._idle.clear()

    def _take(self, address: Address) -> Connection | None:
        while self._idle:
            of, connection, since_s = self._idle.pop()
            if of == address and not connection.ended and time.monotonic() - since_s < KEPT_S:
                return connection
            connection.close()
        return None


class Load:
    """Requests at seeded moments, `rate` a second on the average, whether the earlier ones were answered or
    not, until `stop`. `outcomes` grows as they end."""

    def __init__(self, rate: float, rng: Rng, send: Callable[[], Awaitable[Outcome]]) -> None:
        self._rate, self._rng, self._send = rate, rng, send
        self._running: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._arrivals: asyncio.Task[None] | None = None
        self.outcomes: list[Outcome] = []
        self.sent = 0

    def start(self) -> None:
        self._arrivals = asyncio.get_running_loop().create_task(self._arrive())

    async def stop(self) -> list[Outcome]:
        """No more arrivals; returns every outcome once the last request has ended."""
        self._stopped.set()
        if self._arrivals is not None:
            await self._arrivals
        while self._running:
            await asyncio.wait(self._running)
        return self.outcomes

    async def _arrive(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while not self._stopped.is_set():
            while due_s <= loop.time():
                task = loop.create_task(self._one())
                self.sent += 1
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                due_s += self._rng.expovariate(self._rate)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), max(0.0, due_s - loop.time()))

    async def _one(self) -> None:
        self.outcomes.append(await self._send())


async def closed_loop(
    callers: int, for_s: float, send: Callable[[], Awaitable[Outcome]]
) -> tuple[list[Outcome], float]:
    """`callers` requests in flight, each followed by the next; returns the outcomes and the seconds."""
    outcomes: list[Outcome] = []
    start_s = time.monotonic()

    async def one() -> None:
        while time.monotonic() - start_s < for_s:
            outcomes.append(await send())

    await asyncio.gather(*(one() for _ in range(callers)))
    return outcomes, time.monotonic() - start_s


def latencies(outcomes: list[Outcome], kind: Kind = "ok") -> list[float]:
    """Sorted."""
    return sorted(outcome.took_s for outcome in outcomes if outcome.kind == kind)


def errors_by_kind(outcomes: list[Outcome]) -> dict[str, int]:
    """How often each thing but a right answer happened; an error that was answered counts under its code."""
    counts: dict[str, int] = {}
    for name in (_name(outcome) for outcome in outcomes if outcome.kind != "ok"):
        counts[name] = counts.get(name, 0) + 1
    return counts


def count(outcomes: list[Outcome], *kinds: Kind) -> int:
    return sum(outcome.kind in kinds for outcome in outcomes)


def quantile(ordered: list[float], share: float) -> float:
    """NaN-free: 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _name(outcome: Outcome) -> str:
    return outcome.code or outcome.kind


async def _connect(address: Address) -> Connection:
    return Connection(*await asyncio.open_connection(*address))


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()


def _request(
    address: Address, function: str, body: bytes, timeout_s: float, priority: PriorityLabel | None
) -> bytes:
    lines = [
        f"POST /function/{function} HTTP/1.1",
        f"host: {address[0]}:{address[1]}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-glowplug-timeout: {timeout_s}",
    ]
    if priority:
        lines.append(f"{PRIORITY_HEADER}: {priority}")
    return "\r\n".join((*lines, "", "")).encode() + body


def _judge(reply: Reply, right: Callable[[Any], bool], sent_s: float, took_s: float) -> Outcome:
    try:
        answer = json.loads(reply.body)
        if reply.status == 200:
            if right(answer):
                origin = reply.headers.get(b"x-glowplug-origin", b"").decode("latin-1")
                return Outcome("ok", sent_s, took_s, 200, origin=origin)
            return Outcome("wrong", sent_s, took_s, 200, answer=answer)
        code = str(answer["error"]["code"])
    except (ValueError, KeyError, TypeError):
        shown = reply.body[:200].decode("latin-1")
        return Outcome("wrong", sent_s, took_s, reply.status, "unreadable", answer=shown)
    kind: Kind = "refused" if reply.status in (429, 503) else "failed"
    retry = b"retry-after" in reply.headers
    told = None if kind == "refused" else answer
    return Outcome(kind, sent_s, took_s, reply.status, code, retry, told)
