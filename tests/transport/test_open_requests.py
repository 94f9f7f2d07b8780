"""What outlives a gateway: which requests it had in workers."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from glowplug.core.errors import WorkerDied
from glowplug.core.ids import InstanceId, RequestId
from glowplug.transport.connection import Reply
from glowplug.transport.frames import RequestMeta
from glowplug.transport.open_requests import KEPT, NotedConnections, OpenNotes, OpenRequests
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

from .conftest import StartWorker

ONE, META = InstanceId(1), RequestMeta("e")


def pair() -> tuple[OpenRequests, OpenNotes]:
    opened = OpenRequests()
    return opened, OpenNotes(os.dup(opened.descriptor))


def test_what_is_noted_is_read_until_it_is_removed() -> None:
    opened, notes = pair()
    first = notes.add(RequestId(2**52 + 1), InstanceId(7))
    second = notes.add(RequestId(5), InstanceId(8))
    assert set(opened.read()) == {(2**52 + 1, 7), (5, 8)}
    notes.remove(first)
    assert opened.read() == [(5, 8)]
    notes.remove(second)
    del notes
    assert opened.read() == []
    opened.close()


def test_what_does_not_fit_is_not_noted() -> None:
    opened, notes = pair()
    places = [notes.add(RequestId(n + 1), ONE) for n in range(KEPT)]
    beyond = notes.add(RequestId(KEPT + 1), ONE)
    assert len(opened.read()) == KEPT
    notes.remove(beyond)
    assert len(opened.read()) == KEPT
    notes.remove(places[3])
    notes.add(RequestId(KEPT + 2), ONE)
    assert (KEPT + 2, 1) in opened.read()
    opened.close()


def test_a_request_is_noted_while_its_worker_has_it(start_worker: StartWorker) -> None:
    """Also one that streams, until its end; one that cannot be sent is not."""
    opened, notes = pair()
    hold = threading.Event()

    def answer(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        if bytes(incoming.body) == b"stream":
            endpoint.begin(incoming.request, "text/plain")
            endpoint.chunk(incoming.request, b"x")
            endpoint.flush()
            hold.wait(60)
            endpoint.end(incoming.request)
        else:
            endpoint.error(incoming.request, "function_failed", "no")

    async def scenario() -> None:
        connections = NotedConnections(notes, 2**20)
        connections.attach(ONE, start_worker(answer))
        answers: asyncio.Queue[Reply | bytes] = asyncio.Queue()
        connections.send(ONE, RequestId(4), META, b"stream", answers.put_nowait)
        assert isinstance(await answers.get(), Reply)
        assert await answers.get() == b"x"
        assert opened.read() == [(4, 1)]
        hold.set()
        end = await answers.get()
        assert isinstance(end, Reply)
        assert end.error is None
        assert opened.read() == []
        connections.send(ONE, RequestId(5), META, b"", answers.put_nowait)
        assert opened.read() == [(5, 1)]
        await answers.get()
        assert opened.read() == []
        with pytest.raises(WorkerDied):
            connections.send(InstanceId(2), RequestId(6), META, b"", answers.put_nowait)
        assert opened.read() == []
        connections.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))
    opened.close()
