"""A gateway in a real process, from the server's side: requests, its death, and who stands in for it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import uvloop

from glowplug.core.commands import Dispatch, Lease
from glowplug.core.events import LeaseReport, RequestArrived, RequestCancelled, RequestDone
from glowplug.core.ids import CommandId, GatewayId, InstanceId
from glowplug.gateway.flight import FunctionInfo, Place
from glowplug.node import wire
from glowplug.server.gateways import remote as remote_module
from glowplug.server.gateways.messages import Begin, Known
from glowplug.server.gateways.remote import RemoteGateway
from glowplug.transport.several_gateways import SeveralGateways, let_in
from tests.gateway.fakes import ECHO, House, running

G, ONE, COMMAND = GatewayId("http-1"), InstanceId(1), CommandId(1)
INFO = FunctionInfo(("main",), timeout_s=60.0)
WAIT_S = 120.0


class Worker:
    """One for both gateways, in a thread: it echoes once it may."""

    def __init__(self) -> None:
        self.door, theirs = wire.socket_pair()
        self.seen: list[bytes] = []
        self.may = threading.Event()
        self._endpoint = SeveralGateways(theirs)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wire(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        let_in(self.door, theirs)
        return ours

    def _run(self) -> None:
        while (incoming := self._endpoint.receive()) is not None:
            self.seen.append(bytes(incoming.body))
            self.may.wait(WAIT_S)
            self._endpoint.reply(incoming.request, 200, "text/plain", bytes(incoming.body), {"compute": 1e-6})
        self._endpoint.close()

    def close(self) -> None:
        self.may.set()
        self.door.close()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


class Beside:
    """The gateway, and what the server has for it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.worker = Worker()
        self.stood_in: list[asyncio.Server] = []
        self.lost: list[InstanceId] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._listener.getsockname())
        server = httpx.URL(house.url)
        offset_s = time.time() - time.monotonic()
        begin = Begin(G, Place(1, 2), house.gateway.settings, offset_s, (server.host, server.port or 0))
        self.remote = RemoteGateway(
            begin, self._listener, "", house.gateway, house.control.post, self._greet, self.lost.append,
            self._accept,
        )  # fmt: skip
        house.gateway.attach(ONE, self.worker.wire())

    def _greet(self, remote: RemoteGateway) -> None:
        remote.tell(Known(ECHO, INFO))
        remote.attach(ONE, self.worker.wire())

    async def _accept(self, listener: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_StandIn, sock=listener.dup())
        self.stood_in.append(server)
        return server

    def ask(self, body: bytes) -> asyncio.Task[httpx.Response]:
        """On a connection of its own."""

        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(base_url=self.url, timeout=WAIT_S, verify=False) as client:
                return await client.post("/function/echo", content=body)

        return asyncio.create_task(asked())

    async def arrived(self, count: int) -> RequestArrived:
        found = (await self.house.control.seen(RequestArrived, count))[-1]
        assert isinstance(found, RequestArrived)
        assert found.gateway == G
        return found

    async def begun(self, count: int) -> None:
        while len(self.worker.seen) < count:
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.worker.may.set()
        await self.remote.close()
        self.worker.close()
        self._listener.close()


class _StandIn(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nstand-in")


@asynccontextmanager
async def beside() -> AsyncIterator[Beside]:
    async with running() as house:
        found = Beside(house)
        try:
            yield found
        finally:
            await found.close()


def run(scenario: Callable[[Beside], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with beside() as found:
            await scenario(found)

    uvloop.run(whole())


def test_it_answers_and_the_server_counts() -> None:
    async def scenario(found: Beside) -> None:
        house, remote = found.house, found.remote
        found.worker.may.set()
        remote.start()
        await remote.serving()
        cold = found.ask(b"cold")
        request = (await found.arrived(1)).request
        assert request % 2 == 1
        remote.on_command(Dispatch(COMMAND, (request,), ONE, G))
        assert (await cold).text == "cold"
        (done,) = await house.control.seen(RequestDone)
        assert (done.request, done.ok) == (request, True)  # type: ignore[attr-defined]
        remote.on_command(Lease(COMMAND, G, ECHO, ONE, 1, 1e12))
        warm = await found.ask(b"warm")
        assert warm.text == "warm"
        assert warm.headers["x-glowplug-request"] == str(request + 2)
        await house.control.seen(LeaseReport)
        while (traffic := house.gateway.metrics.traffic(ECHO)) is None or sum(traffic.requests.values()) < 2:
            await asyncio.sleep(0)
        assert {trace.request for trace in house.gateway.traces.recent(ECHO, 9)} == {request, request + 2}
        async with httpx.AsyncClient(base_url=found.url, verify=False) as client:
            assert (await client.get("/livez")).text == "ok", "the server's answer"
        assert remote.busy["glowplug_gateways"] == 1
        assert await remote.drain()
        refused = await found.ask(b"too late")
        assert refused.status_code == 503

    run(scenario)


def test_its_death_is_cleared_up_after() -> None:
    """Of three requests one runs under a lease, one waits behind it in the socket, one in the queue."""

    async def scenario(found: Beside) -> None:
        house, remote = found.house, found.remote
        remote.start()
        await remote.serving()
        asked = [found.ask(b"queued")]
        queued = (await found.arrived(1)).request
        remote.on_command(Lease(COMMAND, G, ECHO, ONE, 2, 1e12))
        asked.append(found.ask(b"runs"))
        await found.begun(1)
        asked.append(found.ask(b"waits"))
        while len(remote._open.read()) < 2:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        (runs,) = remote._begun()
        first = remote.pid
        os.kill(first, signal.SIGKILL)
        for request in asked:
            with pytest.raises(httpx.TransportError):
                await request
        cancelled = await house.control.seen(RequestCancelled, 2)
        assert cancelled[:2] == [RequestCancelled(queued), RequestCancelled(runs, ONE)]
        house.control.on_arrived = lambda event: remote.on_command(
            Dispatch(COMMAND, (event.request,), ONE, G)
        )
        meanwhile = found.ask(b"meanwhile")
        found.worker.may.set()
        (report,) = await house.control.seen(LeaseReport)
        assert report == LeaseReport(G, ONE, final=True)
        while remote.pid == first:
            await asyncio.sleep(0)
        await remote.serving()
        remote.on_command(Lease(COMMAND, G, ECHO, ONE, 2, 1e12))
        answers = [await found.ask(b"again") for _ in range(5)]
        assert {answer.text for answer in answers} <= {"again", "stand-in"}
        assert "again" in [answer.text for answer in answers]
        assert (await meanwhile).text in ("stand-in", "meanwhile")
        assert b"waits" not in found.worker.seen
        house.gateway.detach(ONE)

    run(scenario)


def test_the_server_stands_in_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    right = remote_module.COMMAND
    monkeypatch.setattr(remote_module, "COMMAND", "raise SystemExit(3)")

    async def scenario(found: Beside) -> None:
        found.worker.may.set()
        remote = found.remote
        remote.start()
        assert (await found.ask(b"1")).text == "stand-in"
        remote.on_command(Lease(COMMAND, G, ECHO, ONE, 1, 1e12))
        assert await found.house.control.seen(LeaseReport) == [LeaseReport(G, ONE, final=True)]
        monkeypatch.setattr(remote_module, "COMMAND", right)
        await remote.serving()
        assert len(found.stood_in) == 1
        assert remote.pid

    run(scenario)
