"""The load that `endurance` makes, against a server of a few lines: outcomes are told apart."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from glowplug.bench.live import load as live_load
from glowplug.bench.live.load import (
    Address,
    Caller,
    Load,
    Outcome,
    closed_loop,
    count,
    errors_by_kind,
    latencies,
    quantile,
)
from glowplug.core.rng import rng_for

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def reply(status: int, body: object, *headers: str) -> bytes:
    content = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


ANSWERS = {
    "right": reply(200, 7),
    "wrong": reply(200, 8),
    "refused": reply(429, {"error": {"code": "queue_full"}}, "Retry-After: 1"),
    "silent": reply(503, {"error": {"code": "unavailable"}}),
    "failed": reply(502, {"error": {"code": "worker_died"}}),
    "unreadable": b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n<>",
    "closing": reply(200, 7, "Connection: close"),
    "broken": b"",
}


@asynccontextmanager
async def server() -> AsyncIterator[tuple[Address, list[int]]]:
    """Answers by the function's name; `hanging` never. Yields its address and its connections' number."""
    connections = [0]
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[0] += 1
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except EOFError:
                break
            length = next(
                int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            name = head.split(b" ", 2)[1].decode().removeprefix("/function/")
            if name == "hanging":
                await over.wait()
                break
            writer.write(ANSWERS[name])
            if name in ("broken", "closing"):
                break
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[:2], connections
    finally:
        over.set()
        listening.close()


async def outcome_of(name: str, address: Address | None = None) -> Outcome:
    patience_s = 0.05 if name == "hanging" else 60.0
    async with server() as (here, _):
        caller = Caller(lambda: address or here, grace_s=patience_s)
        try:
            return await caller.call(name, {"value": 1}, lambda answer: answer == 7, timeout_s=patience_s)
        finally:
            caller.close()


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("right", "ok", ""),
        ("wrong", "wrong", ""),
        ("refused", "refused", "queue_full"),
        ("silent", "refused", "unavailable"),
        ("failed", "failed", "worker_died"),
        ("unreadable", "wrong", "unreadable"),
        ("broken", "broken", ""),
        ("hanging", "hanging", ""),
    ],
)
def test_outcomes_are_told_apart(name: str, kind: str, code: str) -> None:
    found = asyncio.run(outcome_of(name))
    assert (found.kind, found.code) == (kind, code)
    assert found.retry_after == (name == "refused")


def test_nobody_is_there() -> None:
    async def story() -> Outcome:
        async with server() as (address, _):
            pass
        return await Caller(lambda: address).call("right", {}, bool)

    assert asyncio.run(story()).kind == "unreachable"
    assert asyncio.run(Caller(lambda: None).call("right", {}, bool)).kind == "unreachable"


def test_a_connection_is_kept_until_the_server_closes_it() -> None:
    async def story() -> int:
        async with server() as (address, connections):
            caller = Caller(lambda: address)
            for name in ("right", "right", "refused", "closing", "right"):
                await caller.call(name, {}, lambda answer: answer == 7)
            caller.close()
            return connections[0]

    assert asyncio.run(story()) == 2


def test_arrivals_wait_for_nobody() -> None:
    """None of these requests is ever answered while the load lasts."""

    async def story() -> tuple[int, list[Outcome]]:
        over, sent = asyncio.Event(), asyncio.Event()
        number = 0

        async def send() -> Outcome:
            nonlocal number
            number += 1
            if number == 50:
                sent.set()
            await over.wait()
            return Outcome("ok", 0.0, 1.0)

        load = Load(10_000.0, rng_for(1, 1), send)
        load.start()
        await sent.wait()
        stopping = asyncio.create_task(load.stop())
        over.set()
        return load.sent, await stopping

    sent, outcomes = asyncio.run(story())
    assert len(outcomes) >= sent >= 50


def test_a_closed_loop_has_so_many_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(live_load, "time", SimpleNamespace(monotonic=lambda: next(ticks)))

    async def story() -> int:
        running = most = 0

        async def send() -> Outcome:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return Outcome("ok", 0.0, 1.0)

        outcomes, _ = await closed_loop(3, 100.0, send)
        assert outcomes
        return most

    assert asyncio.run(story()) == 3


def test_outcomes_are_counted() -> None:
    found = [Outcome("ok", 0.0, 2.0), Outcome("ok", 0.0, 1.0), Outcome("broken", 0.0, 9.0),
             Outcome("failed", 0.0, 9.0, 502, "worker_died")]  # fmt: skip
    assert latencies(found) == [1.0, 2.0]
    assert count(found, "broken", "hanging") == 1
    assert errors_by_kind(found) == {"broken": 1, "worker_died": 1}
    assert (quantile([1.0, 2.0], 0.99), quantile([], 0.5)) == (2.0, 0.0)
