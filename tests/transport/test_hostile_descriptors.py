"""Workers that are after descriptors of the gateway, or send it some that are bad to have."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from glowplug.core.ids import RequestId
from glowplug.transport.closing import close_peer, close_strange
from glowplug.transport.frames import Flag, Kind, ReplyMeta, encode
from glowplug.transport.gateway_side import WorkerConnections
from glowplug.transport.shared_memory import (
    ANCILLARY_BYTES,
    KEPT_BYTES,
    THRESHOLD_BYTES,
    create_region,
    received_descriptors,
)
from tests.lingering import Lingering, never_blocked

from .conftest import few_open, open_descriptors
from .test_connections import META, ONE, run


async def taken_by(sock: socket.socket) -> list[int]:
    """The first descriptors that come there, or none, when its end comes first."""
    sock.setblocking(False)
    while True:
        await asyncio.sleep(0)
        try:
            data, ancillary, _, _ = sock.recvmsg(2**20, ANCILLARY_BYTES)
        except BlockingIOError:
            continue
        if ancillary or not data:
            return received_descriptors(ancillary)


def test_an_answer_to_what_was_not_sent_yet_brings_no_descriptor_of_somebody_elses() -> None:
    async def scenario(connections: WorkerConnections) -> None:
        ours, theirs = socket.socketpair()
        lost: list[str] = []
        connections.on_lost = lambda instance, why: lost.append(why)
        connections.attach(ONE, ours)
        for request, length in enumerate((KEPT_BYTES + 1, THRESHOLD_BYTES)):  # the first fills the socket
            connections.send(ONE, RequestId(request), META, bytes(length), lambda reply: None)
        theirs.sendall(encode(Kind.REPLY, 1, ReplyMeta()))
        while connections.in_flight(ONE) == 2:
            await asyncio.sleep(0)
        others = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
        got = await taken_by(theirs)
        for descriptor in (*others, *got):
            os.close(descriptor)
        theirs.close()
        assert got == []
        assert "broke the protocol" in lost[0]

    before = open_descriptors()
    run(scenario)
    assert open_descriptors() <= before


REPLY = encode(Kind.REPLY, 1, ReplyMeta(), 5000, Flag.IN_REGION | Flag.NEW_REGION)
HELLO = encode(Kind.HELLO, 0, None)


@pytest.mark.parametrize(
    ("sent", "copies"),
    [([REPLY], 1), ([REPLY], 3), ([HELLO], 1), ([HELLO[:3]] * 2, 1), ([REPLY, HELLO, HELLO], 1)],
    ids=["as a region", "cut off", "as a page", "one too many", "never read"],
)
def test_a_socket_that_lingers_holds_up_nobody_but_itself(sent: list[bytes], copies: int) -> None:
    async def scenario(connections: WorkerConnections) -> None:
        before = open_descriptors()
        lingering = Lingering()
        ours, theirs = socket.socketpair()
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connections.on_lost = lambda instance, why: lost.set_result(why)
        connections.attach(ONE, ours)
        connections.send(ONE, RequestId(1), META, b"", lambda reply: None)
        for data in sent:
            lingering.given_to(theirs, data, copies)
        lingering.sock.close()
        await never_blocked(lingering, lost)
        assert "broke the protocol" in lost.result()
        theirs.close()
        await few_open(before)

    run(scenario)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_what_nobody_read_is_closed_with_its_socket(kind: int) -> None:
    async def scenario(_: WorkerConnections) -> None:
        before = open_descriptors()
        lingering = Lingering()
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        if kind == socket.SOCK_SEQPACKET:
            theirs.send(b"")
        lingering.given_to(theirs, b"" if kind == socket.SOCK_SEQPACKET else b"x")
        lingering.sock.close()

        async def close() -> None:
            close_peer(ours)
            close_peer(ours)

        await never_blocked(lingering, close())
        theirs.close()
        await few_open(before)

    run(scenario)


def test_what_is_known_is_closed_at_once() -> None:
    before = open_descriptors()
    ours, theirs = socket.socketpair()
    close_strange([create_region(4096)])
    close_peer(ours)
    theirs.close()
    assert open_descriptors() <= before
