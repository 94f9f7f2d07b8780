"""What a gateway hands on to the server: by real HTTP, to a server as it is."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import uvloop

from glowplug.control.leases import LeaseTable
from glowplug.core.commands import Lease
from glowplug.core.events import RequestArrived
from glowplug.core.ids import CommandId, FunctionId, GatewayId, InstanceId
from glowplug.core.settings import GatewaySettings
from glowplug.core.status import LogLine
from glowplug.gateway import front as sweep
from glowplug.gateway.access_log import Entry
from glowplug.gateway.flight import FunctionInfo
from glowplug.gateway.forwarding import Forwarding, ForwardingProtocol
from glowplug.gateway.front import Front
from glowplug.gateway.http import http_server
from glowplug.gateway.lifecycle import Gateway

from .fakes import ECHO, House, echo, running, serve


class Beside:
    """A gateway in front of a house's server, which knows only the functions that it is told."""

    def __init__(self, house: House, server: tuple[str, int]) -> None:
        self.functions: dict[FunctionId, FunctionInfo] = {}
        self.gateway = Gateway(
            GatewayId("beside"), house.gateway.settings, leases=LeaseTable(GatewayId("beside")),
            known=self.functions.get, post=house.control.post, clock=house.gateway.clock,
        )  # fmt: skip
        self.front = Front(self.gateway)
        protocol = partial(ForwardingProtocol, self.front)
        house.front.access.gateways_at = server
        forwarding = Forwarding(server, self.front.access)
        self.server = http_server(forwarding, protocol, timeout_graceful_shutdown=1)
        self.http: httpx.AsyncClient
        self.address: tuple[str, int] = ("", 0)
        self._threads: list[threading.Thread] = []

    def start_worker(self) -> None:
        """One that is lent to it, of a function that it knows."""
        self.functions[ECHO] = FunctionInfo(("main",))
        ours, theirs = socket.socketpair()
        self.gateway.attach(InstanceId(1), ours)
        self._threads.append(threading.Thread(target=serve, args=(theirs, echo)))
        self._threads[-1].start()
        self.gateway.on_command(
            Lease(CommandId(1), self.gateway.id, ECHO, InstanceId(1), 4, time.time() + 60)
        )

    async def close(self) -> None:
        await self.gateway.close()
        for thread in self._threads:
            thread.join(60)


@asynccontextmanager
async def beside(house: House, server: tuple[str, int] | None = None) -> AsyncIterator[Beside]:
    url = httpx.URL(house.url)
    found = Beside(house, server or (url.host, url.port or 0))
    sock = socket.create_server(("127.0.0.1", 0))
    found.address = sock.getsockname()
    serving = asyncio.create_task(found.server.serve([sock]))
    try:
        base = f"http://127.0.0.1:{found.address[1]}"
        async with httpx.AsyncClient(base_url=base, timeout=60, verify=False) as found.http:
            yield found
    finally:
        await found.close()
        found.server.should_exit = True
        await serving


def run(scenario: object, **changes: object) -> None:
    async def whole() -> None:
        async with running(**changes) as house, beside(house) as front:  # type: ignore[arg-type]
            await scenario(house, front)  # type: ignore[operator]

    uvloop.run(whole())


def test_the_admin_interface_answers_as_if_it_were_asked_itself() -> None:
    async def scenario(house: House, front: Beside) -> None:
        for path in ("/system/functions", "/system/functions/nobody", "/system/info", "/openapi.json", "/no"):
            there, here = await house.http.get(path), await front.http.get(path)
            assert (here.status_code, here.content) == (there.status_code, there.content)
            assert here.headers == there.headers
        assert (await front.http.head("/livez")).status_code == 200
        assert (await front.http.get("/livez")).text == "ok"
        scaled = await front.http.post("/system/scale-function/echo?namespace=default", json={"replicas": 2})
        assert scaled.status_code == 202
        assert ("scale", ECHO, 2) in house.platform.asked

    run(scenario)


@pytest.mark.parametrize("in_chunks", [False, True])
def test_big_bodies_go_on_as_they_come(in_chunks: bool) -> None:
    content = bytes(range(256)) * 20_000

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 100_001):
            yield content[at : at + 100_001]

    async def scenario(house: House, front: Beside) -> None:
        answer = await front.http.put("/system/uploads", content=pieces() if in_chunks else content)
        assert answer.json() == {"upload": hashlib.sha256(content).hexdigest()}

    run(scenario)


def test_long_answers_come_in_pieces() -> None:
    async def scenario(house: House, front: Beside) -> None:
        house.platform.lines = [LogLine(1.0, ECHO, 1, "stdout", f"{n} " + "x" * 1000) for n in range(3000)]
        here = await front.http.get("/system/logs?name=echo&follow=true")
        assert len(here.text.splitlines()) == 3000
        assert here.text == (await house.http.get("/system/logs?name=echo&follow=true")).text

    run(scenario)


def test_a_function_it_does_not_know_the_server_may() -> None:
    async def scenario(house: House, front: Beside) -> None:
        house.start_worker(lend=True)
        answer = await front.http.post("/function/echo", content=b"you know it")
        assert answer.text == "you know it"
        assert house.gateway.metrics.traffic(ECHO) is not None
        front.functions[ECHO] = FunctionInfo(("main",))
        unknown = await front.http.post("/function/echo/other", content=b"an endpoint that is new")
        assert unknown.text == "an endpoint that is new"
        assert front.gateway.metrics.traffic(ECHO) is None
        nobody = await front.http.post("/function/nobody")
        assert (nobody.status_code, nobody.json()["error"]["code"]) == (404, "unknown_function")
        bad = await front.http.post("/function/No..body")
        assert (bad.status_code, bad.json()) == (400, (await house.http.post("/function/No..body")).json())

    run(scenario)


def test_a_refusal_that_comes_before_the_whole_body_arrives() -> None:
    async def scenario(house: House, front: Beside) -> None:
        for _ in range(20):
            answer = await front.http.put("/system/uploads", content=bytes(8 * 2**20))
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")

    run(scenario, max_upload_bytes=1000)


def test_an_answer_that_takes_long_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a function that the server alone knows yet: while it computes nobody is silent."""

    async def scenario(house: House, front: Beside) -> None:
        asked = asyncio.create_task(front.http.post("/function/echo", content=b"at last"))
        (arrived,) = await house.control.seen(RequestArrived)
        assert isinstance(arrived, RequestArrived)
        monkeypatch.setattr(sweep, "IDLE_S", -1.0)
        front.front._look()
        monkeypatch.undo()
        house.control.dispatch(arrived.request, house.start_worker())
        assert (await asked).text == "at last"

    run(scenario)


def test_on_one_connection_in_the_order_they_came() -> None:
    """What is its own to answer and what is the server's, sent at once."""

    async def scenario(house: House, front: Beside) -> None:
        front.start_worker()
        reader, writer = await asyncio.open_connection(*front.address)
        ask = b"%s HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%s"
        writer.write(ask % (b"POST /function/echo", 1, b"1") + ask % (b"GET /livez", 0, b""))
        writer.write(ask % (b"POST /function/echo", 1, b"2") + ask % (b"GET /no", 0, b""))
        statuses = []
        for _ in range(4):
            head = await reader.readuntil(b"\r\n\r\n")
            statuses.append(int(head.split()[1]))
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line
            )
            await reader.readexactly(length)
        assert statuses == [200, 200, 200, 404]
        writer.close()
        assert front.gateway.metrics.traffic(ECHO) is not None
        assert house.gateway.metrics.traffic(ECHO) is None

    run(scenario)


def test_the_server_hears_who_asked_and_that_they_left() -> None:
    entries: list[Entry] = []

    async def whole() -> None:
        async with running(log=entries.append) as house, beside(house) as front:
            await front.http.get("/livez", headers={"x-forwarded-for": "203.0.113.7, 203.0.113.8"})
            assert entries[0].client is not None
            assert entries[0].client[0] == "203.0.113.8", "whom this machine's own proxy names last"
            begun, receive = asyncio.Event(), house.platform.receive_upload

            async def noted(chunks: AsyncIterator[bytes]) -> str:
                begun.set()
                return await receive(chunks)

            house.platform.receive_upload = noted  # type: ignore[method-assign]
            _, writer = await asyncio.open_connection(*front.address)
            writer.write(b"PUT /system/uploads HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhalf")
            await begun.wait()
            writer.close()
            while len(entries) < 2:
                await asyncio.sleep(0)
            assert entries[1].received_bytes == 4

    uvloop.run(whole())


def test_who_may_not_ask_the_server_may_not_ask_here() -> None:
    async def scenario(house: House, front: Beside) -> None:
        assert (await front.http.get("/system/functions")).status_code == 401
        given = {"authorization": "Bearer secret"}
        assert (await front.http.get("/system/functions", headers=given)).status_code == 200
        front.functions[ECHO] = FunctionInfo(("main",))
        assert (await front.http.post("/function/echo")).status_code == 401
        assert (await front.http.post("/function/other")).status_code == 401

    run(scenario, settings=GatewaySettings(token="secret"))


def test_what_came_through_a_proxy_is_refused_before_it_looks_like_the_gateways_own() -> None:
    async def scenario(house: House, front: Beside) -> None:
        assert (await front.http.get("/system/functions")).status_code == 200
        for path in ("/system/functions", "/function/unknown"):
            answer = await front.http.post(path, headers={"x-forwarded-for": "203.0.113.7"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")

    run(scenario)


def test_no_server_is_an_error_of_its_own() -> None:
    async def whole() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            async with running() as house, beside(house, silent.getsockname()) as front:
                answer = await front.http.get("/system/functions")
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
                assert (await front.http.get("/livez")).status_code == 503, "the connection goes on"

    uvloop.run(whole())
