"""Workers that are after descriptors of the gateway, or send it some that are bad to have."""

from __future__ import annotations

import asyncio
import os
import socket

from glowplug.core.ids import RequestId
from glowplug.transport.frames import Kind, ReplyMeta, encode
from glowplug.transport.gateway_side import WorkerConnections
from glowplug.transport.shared_memory import (
    ANCILLARY_BYTES,
    KEPT_BYTES,
    THRESHOLD_BYTES,
    received_descriptors,
)

from .conftest import open_descriptors
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
