"""Clients that ask and do not read: what is answered to them is bounded, and their silence counts as such."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from glowplug.core.events import RequestArrived
from glowplug.core.status import LogLine
from glowplug.gateway import front
from glowplug.transport.frames import MAX_CHUNK_BYTES, STREAM_WINDOW_BYTES, CreditMeta, Kind, decode_meta
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

from .fakes import House, running
from .raw import GOOD, HEAD, Raw
from .test_streams import Streamer

BIG = 12 * 2**20
ASK_BIG = HEAD + b"Content-Length: 3\r\n\r\nbig"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_SWEEP_S", 0.01)


def big_or_echo(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
    body = bytes(incoming.body)
    endpoint.reply(incoming.request, 200, "text/plain", bytes(BIG) if body == b"big" else body)


async def connected(house: House) -> tuple[Raw, Any]:
    """A client, and the gateway's end of its connection."""
    before = set(house.front._connections)
    client = await Raw.connect(house)
    while not (found := house.front._connections - before):
        await asyncio.sleep(0)
    return client, found.pop()


async def let_others_be_answered(house: House) -> None:
    for _ in range(12):
        assert (await house.http.post("/function/echo", content=b"other")).content == b"other"


@pytest.mark.parametrize("others", [b"", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_no_more_than_one_answer_waits_for_a_client_that_asked_ahead(others: bytes) -> None:
    async def whole() -> None:
        async with running() as house:
            house.start_worker(big_or_echo, lend=True)
            client, connection = await connected(house)
            client.send((ASK_BIG + others) * 4 + GOOD)
            while not connection.transport.get_write_buffer_size():
                await asyncio.sleep(0.001)
            await let_others_be_answered(house)
            assert connection.transport.get_write_buffer_size() <= BIG + 1000
            for _ in range(4):
                assert await client.answer() == (200, bytes(BIG))
                if others:
                    assert await client.answer() == (200, b"ok")
            assert await client.answer() == (200, b"ok")
            client.send(GOOD)
            assert await client.answer() == (200, b"ok"), "it is read from again"
            client.writer.close()

    uvloop.run(whole())


def test_whoever_asks_again_and_again_and_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        async with running() as house:
            house.start_worker(big_or_echo, lend=True)
            await house.http.get("/livez")
            client, connection = await connected(house)
            monkeypatch.setattr(front, "IDLE_S", 0.3)
            client.send(ASK_BIG)
            while connection in house.front._connections:
                client.send(GOOD)
                await asyncio.sleep(0.01)
                assert connection.transport.get_write_buffer_size() <= BIG + 1000
            client.writer.transport.abort()

    uvloop.run(whole())


def test_an_unread_stream_is_given_up_whatever_was_asked_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        async with running() as house:
            worker = Streamer(house)
            client, connection = await connected(house)
            client.send(HEAD + b"Content-Length: 0\r\n\r\n")
            request = await worker.begin("application/octet-stream")
            credit = STREAM_WINDOW_BYTES
            while True:
                while credit >= MAX_CHUNK_BYTES:
                    await worker.say(Kind.CHUNK, request, None, bytes(MAX_CHUNK_BYTES))
                    credit -= MAX_CHUNK_BYTES
                try:
                    frame = await asyncio.wait_for(worker.heard(), 0.2)
                except TimeoutError:
                    break
                assert frame is not None
                credit += decode_meta(frame.meta, CreditMeta).bytes
            assert connection.flow.write_paused
            client.send(GOOD)
            while not connection.pipeline:
                await asyncio.sleep(0.001)
            monkeypatch.setattr(front, "IDLE_S", 0.05)
            while house.gateway.connected:
                await asyncio.sleep(0.005)
            worker.close()
            client.writer.transport.abort()

    uvloop.run(whole())


def test_who_began_a_request_while_an_earlier_one_is_answered_is_not_hurried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With enough that waits it would not be read from: the rest of a head may have been sent long ago."""

    async def whole() -> None:
        async with running() as house:
            client, connection = await connected(house)
            client.send(GOOD * 2 + GOOD[:20])
            while not connection.in_head:
                await asyncio.sleep(0.001)
            with monkeypatch.context() as impatience:
                impatience.setattr(front, "HEAD_S", -1.0)
                house.front._look()
            client.send(GOOD[20:])
            worker = house.start_worker(big_or_echo)
            house.control.on_arrived = lambda event: house.control.dispatch(event.request, worker)
            (first,) = house.control.events
            house.control.dispatch(first.request, worker)  # type: ignore[attr-defined]
            for _ in range(3):
                assert await client.answer() == (200, b"ok")
            client.writer.close()

    uvloop.run(whole())


def waiting_bytes(connection: Any) -> int:
    return sum(cycle.length for cycle, _ in connection.pipeline)


def test_bodies_behind_others_are_not_all_read_ahead() -> None:
    async def whole() -> None:
        async with running() as house:
            house.start_worker(big_or_echo, lend=True)
            client, connection = await connected(house)
            body = bytes(60_000)
            client.send((HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)) * 80)
            most = 0
            for _ in range(80):
                assert await client.answer() == (200, body)
                most = max(most, waiting_bytes(connection))
            assert most < 500_000, "one read, and what was there before it"
            client.writer.close()

    uvloop.run(whole())


def test_heads_behind_others_are_not_all_read_ahead() -> None:
    """With nothing in their bodies, and of both kinds of what may be asked."""

    async def whole() -> None:
        async with running() as house:
            worker = house.start_worker(big_or_echo)
            held: list[RequestArrived] = []

            def arrived(event: RequestArrived) -> None:
                if not held:
                    held.append(event)
                else:
                    house.control.dispatch(event.request, worker)

            house.control.on_arrived = arrived
            client, connection = await connected(house)
            rest = b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nX-Long: %b\r\n\r\n" % (
                b"x" * 50_000
            )
            for what in itertools.islice(itertools.cycle((b"POST /function/echo", b"GET /livez")), 60):
                client.send(what + rest)
            while not connection.flow.read_paused:
                await asyncio.sleep(0.001)
            await let_others_be_answered(house)
            assert len(connection.pipeline) < 16, "one read, and what was there before it"
            house.control.dispatch(held[0].request, worker)
            for _ in range(60):
                assert (await client.answer())[0] == 200
            client.writer.close()

    uvloop.run(whole())


def test_who_read_late_and_began_a_head_has_no_more_time_for_it_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def whole() -> None:
        async with running() as house:
            house.start_worker(big_or_echo, lend=True)
            client, connection = await connected(house)
            client.send(ASK_BIG + GOOD + GOOD[:20])
            while not (connection.flow.write_paused and connection.in_head):
                await asyncio.sleep(0.001)
            assert await client.answer() == (200, bytes(BIG))
            assert await client.answer() == (200, b"ok")
            monkeypatch.setattr(front, "HEAD_S", 0.05)
            while house.gateway.connected:
                await asyncio.sleep(0.005)
            client.writer.close()

    uvloop.run(whole())


def test_a_body_behind_a_request_that_looks_for_its_clients_end_is_not_read() -> None:
    """uvicorn reads on for the sake of an application that waits to be told of that."""

    async def whole() -> None:
        async with running() as house:
            house.start_worker(big_or_echo, lend=True)
            over = asyncio.Event()

            async def no_lines(*_: object, **__: object) -> AsyncIterator[LogLine]:
                await over.wait()
                for line in ():
                    yield line

            house.platform.logs = no_lines  # type: ignore[method-assign]
            client, connection = await connected(house)
            body = bytes(BIG)
            client.send(b"GET /system/logs?name=echo&follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            client.send(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            while not connection.pipeline:
                await asyncio.sleep(0.001)
            await let_others_be_answered(house)
            assert waiting_bytes(connection) < 1_000_000
            over.set()
            assert await client.reader.readuntil(b"\r\n\r\n") == b"0\r\n\r\n"
            assert await client.answer() == (200, body)
            client.writer.close()

    uvloop.run(whole())
