"""The control socket between the server and a gateway process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from glowplug.core.commands import Dispatch
from glowplug.core.events import LeaseReport, RequestArrived
from glowplug.core.histogram import Histogram
from glowplug.core.ids import CommandId, FunctionId, GatewayId, InstanceId, RequestId
from glowplug.core.settings import GatewaySettings
from glowplug.core.status import RequestTrace
from glowplug.gateway.flight import FunctionInfo, Place
from glowplug.gateway.metrics import Counts, Tally
from glowplug.node import wire
from glowplug.server.gateways import link
from glowplug.server.gateways.link import Link
from glowplug.server.gateways.messages import (
    Attach,
    Begin,
    Counted,
    Detach,
    Drain,
    Drained,
    FromGateway,
    FromServer,
    Known,
    LostInstance,
    ReopenLog,
    Serving,
)
from glowplug.server.gateways.process import in_parts
from tests.transport.conftest import open_descriptors

G, F = GatewayId("http-1"), FunctionId("f.default")


class End:
    """One end, and what came there."""

    def __init__(self, sock: Any, types: Any) -> None:
        self.came: list[Any] = []
        self.descriptors: list[int] = []
        self.why = ""
        self.link = Link(sock, types, self._on_message, self._on_end)

    def _on_message(self, message: Any, descriptors: list[int]) -> None:
        self.came.append(message)
        self.descriptors += descriptors

    def _on_end(self, why: str) -> None:
        assert not self.why
        self.why = why

    async def has(self, count: int) -> None:
        while len(self.came) < count:
            await asyncio.sleep(0)

    async def ended(self) -> str:
        while not self.why:
            await asyncio.sleep(0)
        return self.why


def run(scenario: Callable[[End, End], Awaitable[None]]) -> None:
    async def whole() -> None:
        ours, theirs = wire.socket_pair()
        server, gateway = End(ours, FromGateway), End(theirs, FromServer)
        await asyncio.wait_for(scenario(server, gateway), 60)
        server.link.close()
        gateway.link.close()

    before = open_descriptors()
    asyncio.run(whole())
    assert open_descriptors() <= before


def test_every_message_arrives_as_it_was() -> None:
    down = [
        Begin(G, Place(1, 4), GatewaySettings(token="secret"), 1.5, ("127.0.0.1", 9), "log"),
        Known(F, FunctionInfo(("a", "b"), 3.0, 7, frozenset({"a"}))),
        Known(F, None),
        Attach(InstanceId(3)),
        Dispatch(CommandId(1), (RequestId(2**52),), InstanceId(3), G),
        Detach(InstanceId(3), "it ended", "worker_died"),
        ReopenLog(),
        Drain(),
    ]
    up = [
        Serving(),
        RequestArrived(request=RequestId(5), function=F, gateway=G, deadline_s=2.0, body_bytes=3),
        LeaseReport(gateway=G, instance=InstanceId(3), done=4, final=True),
        LostInstance(InstanceId(3)),
        Counted(Counts({F: Tally({200: 3})}, [("parked", "queue", Histogram())]), [], {"a": 1.5}),
        Drained(True),
    ]

    async def scenario(server: End, gateway: End) -> None:
        for message in down:
            server.link.send(message)
        for message in up:
            gateway.link.send(message)
        await gateway.has(len(down))
        await server.has(len(up))
        assert gateway.came == down
        assert server.came == up

    run(scenario)


def test_descriptors_travel_and_are_left_open_nowhere() -> None:
    async def scenario(server: End, gateway: End) -> None:
        for instance in range(3):
            ours, theirs = os.pipe()
            os.close(ours)
            server.link.send(Attach(InstanceId(instance)), (theirs,))
        await gateway.has(3)
        wire.close_all(gateway.descriptors)
        assert len(gateway.descriptors) == 3

    run(scenario)


def test_what_the_peer_does_not_read_waits_in_its_order() -> None:
    async def scenario(server: End, gateway: End) -> None:
        asyncio.get_running_loop().remove_reader(gateway.link._sock.fileno())
        for instance in range(5000):
            server.link.send(LostInstance(InstanceId(instance)))
        read, write = os.pipe()
        os.close(read)
        server.link.send(Attach(InstanceId(5000)), (write,))
        gateway.link.send(Serving())
        await server.has(1)
        asyncio.get_running_loop().add_reader(gateway.link._sock.fileno(), gateway.link._read)
        gateway.link._receiver = wire.Receiver(gateway.link._sock, LostInstance | Attach)
        await gateway.has(5001)
        assert [message.instance for message in gateway.came] == list(range(5001))
        wire.close_all(gateway.descriptors)

    run(scenario)


def test_a_peer_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MOST_WAITING", 10)

    async def scenario(server: End, gateway: End) -> None:
        asyncio.get_running_loop().remove_reader(gateway.link._sock.fileno())
        while not server.why:
            read, write = os.pipe()
            os.close(read)
            server.link.send(Attach(InstanceId(1)), (write,))
        assert "10 messages" in server.why
        server.link.send(Drain())

    run(scenario)


def test_the_end_is_told_once() -> None:
    async def scenario(server: End, gateway: End) -> None:
        server.link.send(Drain())
        server.link.close()
        assert await gateway.ended() == "it is gone"
        assert gateway.came == [Drain()]
        gateway.link.send(Serving())
        assert server.why == ""

    run(scenario)


def test_words_that_are_none_end_it() -> None:
    async def scenario(server: End, gateway: End) -> None:
        wire.send(gateway.link._sock, Begin(G, Place(), GatewaySettings(), 0.0, ("", 0)))
        assert "cannot be read" in await server.ended()

    run(scenario)


def test_counts_of_many_functions_go_in_parts() -> None:
    name = "f" * 63 + ".{}"
    counts = Counts(
        {name.format(n): Tally({200: 10**9, 503: 1}, Histogram([10**6] * 78)) for n in range(1001)},
        [("imported", "first_compute", Histogram()) for _ in range(60)],
    )
    phases = dict.fromkeys(("queue", "environment", "fork", "import", "build", "first_compute"), 0.123456789)
    traces = [
        RequestTrace(2**52 + n, name.format(n), "e" * 63, 1.7e9, 0.1, 200, "imported", phases, 2**30)
        for n in range(2500)
    ]
    parts = list(in_parts(counts, traces, {"a": 1.0}))
    assert all(len(msgspec.msgpack.encode(part)) < wire.MAX_MESSAGE_BYTES for part in parts)
    tallies = {function: tally for part in parts for function, tally in part.counts.tallies.items()}
    assert tallies == counts.tallies
    assert [trace for part in parts for trace in part.traces] == traces
    assert [found for part in parts for found in part.counts.cold_phases] == counts.cold_phases
    assert list(in_parts(Counts(), [], {"a": 2.0})) == [Counted(Counts(), [], {"a": 2.0})]
