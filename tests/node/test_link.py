"""One end of a control socket in an event loop: order, turns, descriptors, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

import pytest

from glowplug.core.ids import InstanceId
from glowplug.node import link, wire
from glowplug.node.messages import StopAgent
from glowplug.server.gateways.messages import Attach, Detach, Drain, LostInstance, ReopenLog, Serving
from tests.node.links import End, run


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


def test_a_kernel_without_memory_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message is not lost, and those after it do not overtake it."""
    short = [errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.ETOOMANYREFS]
    sent = wire.send_encoded

    def send(*args: Any) -> None:
        if short:
            raise OSError(short.pop(0), "as the kernel says it")
        sent(*args)

    async def scenario(server: End, gateway: End) -> None:
        monkeypatch.setattr(wire, "send_encoded", send)
        read, write = os.pipe()
        os.close(read)
        server.link.send(Attach(InstanceId(1)), (write,))
        server.link.send(Drain())
        await gateway.has(2)
        assert gateway.came == [Attach(InstanceId(1)), Drain()]
        wire.close_all(gateway.descriptors)
        assert not short
        assert not server.link._outbox

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
        wire.send(gateway.link._sock, StopAgent())
        assert "cannot be read" in await server.ended()

    run(scenario)


def test_who_talks_without_end_is_read_by_turns() -> None:
    async def scenario(server: End, gateway: End) -> None:
        for instance in range(link.MESSAGES_AT_ONCE + 1):
            gateway.link.send(LostInstance(InstanceId(instance)))
        server.link._read()
        assert len(server.came) == link.MESSAGES_AT_ONCE
        await server.has(link.MESSAGES_AT_ONCE + 1)

    run(scenario)


def test_what_is_too_large_is_refused_though_others_wait_before_it() -> None:
    async def scenario(server: End, gateway: End) -> None:
        asyncio.get_running_loop().remove_reader(gateway.link._sock.fileno())
        while not server.link._outbox:
            server.link.send(Drain())
        read, write = os.pipe()
        os.close(read)
        with pytest.raises(ValueError, match="over the limit"):
            server.link.send(Detach(InstanceId(1), "x" * wire.MAX_MESSAGE_BYTES, ""), (write,))
        server.link.send(ReopenLog())
        asyncio.get_running_loop().add_reader(gateway.link._sock.fileno(), gateway.link._read)
        while ReopenLog() not in gateway.came:
            await asyncio.sleep(0)

    run(scenario)
