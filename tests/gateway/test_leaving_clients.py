"""Clients that read slowly, or not at all, or leave: what was begun for them ends, and nothing is left."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest
import uvloop

from glowplug.gateway import front, guarded
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

from .fakes import WAIT_S, House, running
from .raw import GOOD, HEAD, Raw, run


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_SWEEP_S", 0.01)


def big(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
    endpoint.reply(incoming.request, 200, "application/octet-stream", bytes(20_000_000))


def reading_nothing(house: House) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", int(house.url.rsplit(":", 1)[1])))
    return sock


@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
def test_an_answer_that_nobody_reads_is_given_up(connection: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        async with running() as house:
            house.start_worker(big, lend=True)
            sock = reading_nothing(house)
            sock.sendall(HEAD + b"Connection: " + connection + b"\r\nContent-Length: 0\r\n\r\n")
            while not house.gateway.active:
                await asyncio.sleep(0)
            monkeypatch.setattr(front, "IDLE_S", 0.05)
            while house.gateway.connected:
                await asyncio.sleep(0.005)
            sock.close()

    uvloop.run(whole())


def test_an_answer_that_is_read_slowly_goes_on() -> None:
    async def whole() -> None:
        async with running() as house:
            house.start_worker(big, lend=True)
            loop = asyncio.get_running_loop()
            sock = reading_nothing(house)
            sock.setblocking(False)
            await loop.sock_sendall(sock, HEAD + b"Content-Length: 0\r\n\r\n")
            await loop.sock_recv(sock, 1)
            (connection,) = house.front._connections
            assert isinstance(connection, guarded.GuardedProtocol)
            for _ in range(3):
                read = 0
                while read < 4 * guarded.LEAST_READ_BYTES:
                    read += len(await loop.sock_recv(sock, 65536))
                connection.give_up()
                assert not connection.transport.is_closing()
            connection.give_up()
            assert connection.transport.is_closing(), "nothing was read since"
            sock.close()

    uvloop.run(whole())


def test_clients_that_leave_at_every_byte() -> None:
    async def scenario(house: House) -> None:
        for length in range(len(GOOD)):
            client = await Raw.connect(house)
            client.send(GOOD[:length])
            await client.writer.drain()
            client.writer.transport.abort()

    run(scenario)


def test_a_client_that_leaves_while_it_is_answered_and_has_asked_for_more() -> None:
    """The first is under way, the others wait behind it: all of them end with their connection."""

    async def whole() -> None:
        async with running() as house:
            hold = threading.Event()

            def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
                hold.wait(WAIT_S)
                endpoint.reply(incoming.request, 200, "text/plain", b"late")

            house.start_worker(slow, lend=True)
            client = await Raw.connect(house)
            client.send(GOOD * 5 + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + GOOD)
            while not house.gateway.active:
                await asyncio.sleep(0)
            client.writer.transport.abort()
            while house.gateway.connected:
                await asyncio.sleep(0)
            assert house.gateway.active == 0
            assert house.front.bodies.held_bytes == 0
            hold.set()

    uvloop.run(whole())
