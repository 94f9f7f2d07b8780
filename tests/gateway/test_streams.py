"""Streamed answers, from a worker that speaks in frames to a client that reads HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import httpx
import pytest
import uvloop

from glowplug.core.events import LeaseReport, RequestCancelled, RequestDone
from glowplug.core.ids import InstanceId
from glowplug.transport.frames import (
    MAX_CHUNK_BYTES,
    STREAM_WINDOW_BYTES,
    CreditMeta,
    ErrorMeta,
    Frame,
    FrameDecoder,
    Kind,
    ReplyMeta,
    decode_meta,
    encode,
)

from .fakes import House, running


class Streamer:
    """A worker's end of the wire, in the test's own loop."""

    def __init__(self, house: House) -> None:
        self._loop = asyncio.get_running_loop()
        ours, self._sock = socket.socketpair()
        self._sock.setblocking(False)
        self._decoder = FrameDecoder(2**30)
        self._frames: list[Frame] = []
        house.gateway.attach(InstanceId(1), ours)
        house.control.lend(InstanceId(1))

    async def heard(self) -> Frame | None:
        """The next frame, or None at the end."""
        while not self._frames:
            data = await self._loop.sock_recv(self._sock, 2**16)
            if not data:
                return None
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    async def say(self, kind: Kind, request: int, meta: object = None, body: bytes = b"") -> None:
        await self._loop.sock_sendall(self._sock, encode(kind, request, meta, len(body)) + body)  # type: ignore[arg-type]

    async def begin(self, content_type: str) -> int:
        frame = await self.heard()
        assert frame is not None
        await self.say(Kind.REPLY, frame.request, ReplyMeta(content_type=content_type, stream=True))
        return frame.request

    def close(self) -> None:
        self._sock.close()


def run(scenario: Callable[[House, Streamer], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with running() as house:
            worker = Streamer(house)
            try:
                await scenario(house, worker)
            finally:
                worker.close()

    uvloop.run(whole())


def test_chunks_arrive_as_they_are_sent_and_the_end_is_reported() -> None:
    async def scenario(house: House, worker: Streamer) -> None:
        serving = asyncio.create_task(worker.begin("application/x-ndjson"))
        async with house.http.stream("POST", "/function/echo", content=b"{}") as answer:
            request = await serving
            assert answer.headers["content-type"] == "application/x-ndjson"
            assert answer.headers["x-glowplug-request"] == str(request)
            parts = answer.aiter_raw()
            for number in range(3):
                await worker.say(Kind.CHUNK, request, None, b"%d\n" % number)
                assert await anext(parts) == b"%d\n" % number
            assert house.control.events == []
            await worker.say(Kind.END, request, ReplyMeta(phases={"compute": 0.5}))
            assert [part async for part in parts] == []
        house.gateway.invoker.report()
        (report,) = await house.control.seen(LeaseReport)
        assert (report.done, report.busy_s, report.in_flight) == (1, 0.5, 0)  # type: ignore[attr-defined]
        trace = house.gateway.traces.find(request)
        assert trace is not None
        assert trace.status == 200

    run(scenario)


def test_a_client_that_does_not_read_stops_the_worker() -> None:
    async def scenario(house: House, worker: Streamer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]), limit=1)
        writer.write(b"POST /function/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        request = await worker.begin("application/octet-stream")
        sent = window = STREAM_WINDOW_BYTES
        for _ in range(window // MAX_CHUNK_BYTES):
            await worker.say(Kind.CHUNK, request, None, bytes(MAX_CHUNK_BYTES))
        # Whatever the sockets between have room for, at last there is no more credit.
        left = 0
        while True:
            try:
                frame = await asyncio.wait_for(worker.heard(), 0.5)
            except TimeoutError:
                break
            assert frame is not None
            assert (frame.kind, frame.request) == (Kind.CREDIT, request)
            left += decode_meta(frame.meta, CreditMeta).bytes
            while left >= MAX_CHUNK_BYTES:
                await worker.say(Kind.CHUNK, request, None, bytes(MAX_CHUNK_BYTES))
                left, sent = left - MAX_CHUNK_BYTES, sent + MAX_CHUNK_BYTES
        assert sent < 64 * 2**20

        async def read_all() -> int:
            return len(await reader.read())

        reading = asyncio.create_task(read_all())
        frame = await worker.heard()
        assert frame is not None
        assert frame.kind is Kind.CREDIT
        await worker.say(Kind.END, request, ReplyMeta())
        writer.write_eof()
        assert await reading > sent
        writer.close()

    run(scenario)


async def read_into(got: bytearray, house: House) -> None:
    async with house.http.stream("POST", "/function/echo", content=b"{}") as answer:
        async for part in answer.aiter_raw():
            got += part


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/x-ndjson", "text/plain"])
def test_a_stream_that_breaks_does_not_look_whole(content_type: str) -> None:
    async def scenario(house: House, worker: Streamer) -> None:
        async def serve() -> None:
            request = await worker.begin(content_type)
            await worker.say(Kind.CHUNK, request, None, b"first\n")
            await worker.say(Kind.ERROR, request, ErrorMeta("function_failed", "ValueError: no"))

        serving = asyncio.create_task(serve())
        got = bytearray()
        with pytest.raises(httpx.RemoteProtocolError):
            await read_into(got, house)
        await serving
        told = b'{"error":{"code":"function_failed","message":"ValueError: no"}}'
        expected = {
            "text/event-stream": b"first\nevent: error\ndata: " + told + b"\n\n",
            "application/x-ndjson": b"first\n" + told + b"\n",
            "text/plain": b"first\n",
        }
        assert got == expected[content_type]

    run(scenario)


def test_a_worker_that_dies_in_its_stream_breaks_it_off() -> None:
    async def scenario(house: House, worker: Streamer) -> None:
        async def serve() -> None:
            request = await worker.begin("application/x-ndjson")
            await worker.say(Kind.CHUNK, request, None, b"1\n")
            worker.close()

        serving = asyncio.create_task(serve())
        with pytest.raises(httpx.RemoteProtocolError):
            await house.http.post("/function/echo", content=b"{}")
        await serving
        assert house.gateway.active == 0

    run(scenario)


def test_a_client_that_leaves_its_stream_cancels_it_and_blocks_nobody() -> None:
    async def scenario(house: House, worker: Streamer) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
        writer.write(b"POST /function/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        request = await worker.begin("application/x-ndjson")
        await worker.say(Kind.CHUNK, request, None, b"1\n")
        writer.close()
        await house.control.seen(RequestCancelled)
        for _ in range(4):
            await worker.say(Kind.CHUNK, request, None, bytes(MAX_CHUNK_BYTES))
        frame = await worker.heard()
        assert frame is not None
        assert frame.kind is Kind.CREDIT
        await worker.say(Kind.ERROR, request, ErrorMeta("cancelled", "it was"))
        house.gateway.invoker.report()
        while house.gateway.connections.in_flight(InstanceId(1)):
            await asyncio.sleep(0)
        assert not [event for event in house.control.events if isinstance(event, RequestDone)]
        assert house.gateway.active == 0

    run(scenario)


def test_an_old_client_gets_the_bytes_and_the_end_of_the_connection() -> None:
    async def scenario(house: House, worker: Streamer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
        writer.write(b"POST /function/echo HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        request = await worker.begin("text/plain")
        await worker.say(Kind.CHUNK, request, None, b"hello ")
        await worker.say(Kind.CHUNK, request, None, b"world")
        await worker.say(Kind.END, request, ReplyMeta())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert body == b"hello world"
        assert b"transfer-encoding" not in head.lower()
        writer.close()

    run(scenario)


@pytest.mark.parametrize(
    "frames",
    [
        [(Kind.CHUNK, None, b"x")],
        [(Kind.END, ReplyMeta(), b"")],
        [(Kind.REPLY, ReplyMeta(stream=True), b""), (Kind.REPLY, ReplyMeta(), b"")],
        [(Kind.REPLY, ReplyMeta(stream=True), b""), (Kind.END, ReplyMeta(stream=True), b"")],
        [(Kind.REPLY, ReplyMeta(stream=True), b"body")],
        [(Kind.REPLY, ReplyMeta(stream=True), b"")] + [(Kind.CHUNK, None, bytes(MAX_CHUNK_BYTES))] * 500,
    ],
    ids=["chunk first", "end first", "two replies", "no end", "a body", "no credit"],
)
def test_a_worker_that_streams_against_the_rules_loses_its_connection(
    frames: list[tuple[Kind, object, bytes]],
) -> None:
    async def scenario(house: House, worker: Streamer) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
        writer.write(b"POST /function/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        request = await worker.heard()
        assert request is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for kind, meta, body in frames:
                await worker.say(kind, request.request, meta, body)
        while InstanceId(1) in house.gateway.connections:
            await asyncio.sleep(0)
        writer.close()

    run(scenario)
