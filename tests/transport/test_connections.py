from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
from collections.abc import Awaitable, Callable

import pytest

from glowplug.core.errors import FunctionFailed, InvalidArguments, Overloaded, RequestCancelled, WorkerDied
from glowplug.core.ids import InstanceId, RequestId
from glowplug.transport import worker_side
from glowplug.transport.begun import KEPT
from glowplug.transport.connection import NeverRead, Reply
from glowplug.transport.frames import Flag, Kind, ReplyMeta, RequestMeta, encode
from glowplug.transport.gateway_side import WorkerConnections
from glowplug.transport.shared_memory import KEPT_BYTES, THRESHOLD_BYTES, create_region, descriptor_message
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

from .conftest import StartWorker, echo, few_open, open_descriptors

ONE = InstanceId(1)
META = RequestMeta(endpoint="e", content_type="text/plain")


def run(scenario: Callable[[WorkerConnections], Awaitable[None]], **options: int) -> None:
    async def whole() -> None:
        connections = WorkerConnections(**options)  # type: ignore[arg-type]
        try:
            await asyncio.wait_for(scenario(connections), 60)
        finally:
            connections.close()

    asyncio.run(whole())


@pytest.mark.parametrize(
    "size", [0, 1, 1000, THRESHOLD_BYTES - 1, THRESHOLD_BYTES, 3 * 2**20, KEPT_BYTES, KEPT_BYTES + 1]
)
def test_bodies_of_every_size_come_back(start_worker: StartWorker, size: int) -> None:
    async def scenario(connections: WorkerConnections) -> None:
        connections.attach(ONE, start_worker(echo))
        for number in (1, 2, 3):
            body = random.Random(number).randbytes(size)
            reply = await connections.call(ONE, RequestId(number), META, body)
            assert reply.body == body
            assert (reply.status, reply.content_type, reply.phases) == (200, "text/plain", {"compute": 0.001})

    run(scenario)


def test_many_in_flight_of_mixed_sizes_are_told_apart(start_worker: StartWorker) -> None:
    async def scenario(connections: WorkerConnections) -> None:
        connections.attach(ONE, start_worker(echo))
        sizes = [10, 200_000, 0, 900_000, 70_000, 150_000, 5, 2_000_000] * 4
        bodies = [bytes([n]) * size for n, size in enumerate(sizes)]
        calls = [connections.call(ONE, RequestId(n), META, body) for n, body in enumerate(bodies)]
        replies = await asyncio.gather(*calls)
        assert [reply.body for reply in replies] == bodies
        assert connections.in_flight(ONE) == 0

    run(scenario)


def test_requests_wait_in_the_socket_until_the_worker_is_there() -> None:
    async def scenario(connections: WorkerConnections) -> None:
        ours, theirs = socket.socketpair()
        connections.attach(ONE, ours)
        call = asyncio.ensure_future(connections.call(ONE, RequestId(7), META, b"early" * 100_000))
        await asyncio.sleep(0)
        endpoint = WorkerEndpoint(theirs)
        incoming = await asyncio.to_thread(endpoint.receive)
        assert incoming is not None
        echo(endpoint, incoming)
        assert (await call).body == b"early" * 100_000
        endpoint.close()

    run(scenario)


def test_an_error_comes_back_as_the_error_it_was(start_worker: StartWorker) -> None:
    def fail(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        if incoming.request == 1:
            endpoint.error(1, "invalid_arguments", "argument 'text': expected str", "text")
        else:
            endpoint.error(incoming.request, "function_failed", "x" * 100_000)

    async def scenario(connections: WorkerConnections) -> None:
        connections.attach(ONE, start_worker(fail))
        with pytest.raises(InvalidArguments, match="expected str") as caught:
            await connections.call(ONE, RequestId(1), META, b"")
        assert caught.value.field == "text"
        with pytest.raises(FunctionFailed, match=r" \.\.\. "):
            await connections.call(ONE, RequestId(2), META, b"")

    run(scenario)


def test_a_dying_worker_answers_all_that_it_held_and_is_reported_once(start_worker: StartWorker) -> None:
    lost: list[tuple[int, str]] = []

    def die(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        if incoming.request == 1:
            echo(endpoint, incoming)
            return
        endpoint.close()
        raise BrokenPipeError

    async def scenario(connections: WorkerConnections) -> None:
        connections.on_lost = lambda instance, why: lost.append((instance, why))
        connections.attach(ONE, start_worker(die))
        calls = [connections.call(ONE, RequestId(n), META, b"x") for n in (1, 2, 3)]
        first, *rest = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, Reply)
        assert [type(error) for error in rest] == [WorkerDied, NeverRead], "it had begun the second alone"
        assert ONE not in connections
        with pytest.raises(WorkerDied):
            await connections.call(ONE, RequestId(4), META, b"x")
        connections.detach(ONE)

    run(scenario)
    assert [instance for instance, _ in lost] == [ONE]


def test_what_a_dying_worker_never_read_comes_back_with_the_error(start_worker: StartWorker) -> None:
    def die(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        endpoint.close()
        raise BrokenPipeError

    async def scenario(connections: WorkerConnections) -> None:
        connections.attach(ONE, start_worker(die))
        bodies = [bytes([number]) * (THRESHOLD_BYTES + number) for number in (1, 2)]
        calls = [connections.call(ONE, RequestId(n), META, body) for n, body in enumerate(bodies)]
        _, unread = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(unread, NeverRead)
        assert unread.body == bodies[1]

    run(scenario)


def test_detach_delivers_answers_that_came_in_time() -> None:
    async def scenario(connections: WorkerConnections) -> None:
        ours, theirs = socket.socketpair()
        connections.attach(ONE, ours)
        answers: list[Reply] = []
        for number in (1, 2):
            connections.send(ONE, RequestId(number), META, b"", answers.append)
        endpoint = WorkerEndpoint(theirs)
        incoming = endpoint.receive()
        assert incoming is not None
        echo(endpoint, incoming)
        endpoint.close()
        connections.detach(ONE)
        assert answers[0].error is None
        assert isinstance(answers[1].error, WorkerDied)

    run(scenario)


def test_a_cancelled_call_leaves_the_connection_whole(start_worker: StartWorker) -> None:
    async def scenario(connections: WorkerConnections) -> None:
        connections.attach(ONE, start_worker(echo))
        call = asyncio.ensure_future(connections.call(ONE, RequestId(1), META, b"a"))
        await asyncio.sleep(0)
        call.cancel()
        assert (await connections.call(ONE, RequestId(2), META, b"b")).body == b"b"
        assert connections.in_flight(ONE) == 0

    run(scenario)


def test_what_waits_for_a_worker_is_bounded() -> None:
    async def scenario(connections: WorkerConnections) -> None:
        ours, theirs = socket.socketpair()
        connections.attach(ONE, ours)
        ignore: list[Reply] = []
        for number in (1, 2):
            connections.send(ONE, RequestId(number), META, b"", ignore.append)
        with pytest.raises(Overloaded):
            connections.send(ONE, RequestId(3), META, b"", ignore.append)
        theirs.close()

    run(scenario, max_in_flight=2)


def test_bytes_that_the_socket_does_not_take_are_bounded() -> None:
    async def scenario(connections: WorkerConnections) -> None:
        ours, theirs = socket.socketpair()
        connections.attach(ONE, ours)
        sent = 0

        def flood() -> None:
            nonlocal sent
            while sent < 10_000:
                connections.send(ONE, RequestId(sent), META, bytes(100_000), lambda reply: None)
                sent += 1

        with pytest.raises(Overloaded):
            flood()
        assert sent * 100_000 < 3 * 2**20
        theirs.close()

    run(scenario, max_unsent_bytes=2**20, max_in_flight=20_000)


def test_what_never_began_is_dropped_when_it_is_cancelled(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_side, "STALE_S", 0.0)
    go, seen = threading.Event(), list[int]()

    def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        seen.append(incoming.request)
        go.wait(60)
        echo(endpoint, incoming)

    async def scenario(connections: WorkerConnections) -> None:
        connections.attach(ONE, start_worker(slow))
        calls = [asyncio.ensure_future(connections.call(ONE, RequestId(n), META, b"x")) for n in (1, 2, 3)]
        while not seen:
            await asyncio.sleep(0)
        while connections._connections[ONE]._page is None:
            await asyncio.sleep(0)
        assert not connections.cancel(ONE, RequestId(1)), "it runs"
        assert connections.cancel(ONE, RequestId(2))
        assert not connections.cancel(ONE, RequestId(9)), "there is none"
        go.set()
        assert (await calls[0]).body == b"x"
        assert (await calls[2]).body == b"x"
        with pytest.raises(RequestCancelled):
            await calls[1]
        assert not connections.cancel(ONE, RequestId(1)), "it is over"

    run(scenario)
    assert seen == [1, 3]


def test_a_request_that_runs_counts_as_begun_however_many_begin_after_it(start_worker: StartWorker) -> None:
    def hold_the_first(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        if incoming.request == 2 + KEPT:
            endpoint.close()
            raise BrokenPipeError
        if incoming.request > 1:
            echo(endpoint, incoming)

    async def scenario(connections: WorkerConnections) -> None:
        connections.attach(ONE, start_worker(hold_the_first))
        first = asyncio.ensure_future(connections.call(ONE, RequestId(1), META, b""))
        for number in range(2, 2 + KEPT):
            await connections.call(ONE, RequestId(number), META, b"")
        assert not connections.cancel(ONE, RequestId(1))
        assert connections.has_begun(ONE, RequestId(1))
        connections.send(ONE, RequestId(2 + KEPT), META, b"", lambda reply: None)
        with pytest.raises(WorkerDied) as caught:
            await first
        assert type(caught.value) is WorkerDied, "it may not run twice"

    run(scenario)


HOSTILE: dict[str, bytes] = {
    "garbage": b"GET / HTTP/1.1\r\n\r\n" * 10,
    "a request": encode(Kind.REQUEST, 1, RequestMeta()),
    "an unknown request": encode(Kind.REPLY, 99, ReplyMeta()),
    "a body beyond the bound": encode(Kind.REPLY, 1, ReplyMeta(), 2**40),
    "a header injection": encode(Kind.REPLY, 1, ReplyMeta(content_type="a\r\nb: c")),
    "meta of another kind": encode(Kind.ERROR, 1, ReplyMeta(status=500)),
    "a region that never came": encode(Kind.REPLY, 1, ReplyMeta(), 10, Flag.IN_REGION | Flag.NEW_REGION),
    "a region that is not there": encode(Kind.REPLY, 1, ReplyMeta(), 10, Flag.IN_REGION),
    "a region it was never lent": encode(Kind.REPLY, 1, ReplyMeta(), 0, Flag.REGION_FREE),
    "hello without a page": encode(Kind.HELLO, 0, None),
    "an answer twice": encode(Kind.REPLY, 1, ReplyMeta(), 0) * 2,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_worker_only_loses_its_connection(what: str) -> None:
    async def scenario(connections: WorkerConnections) -> None:
        ours, theirs = socket.socketpair()
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connections.on_lost = lambda instance, why: lost.set_result(why)
        connections.attach(ONE, ours)
        connections.send(ONE, RequestId(1), META, b"", lambda reply: None)
        theirs.sendall(HOSTILE[what])
        assert "broke the protocol" in await lost
        theirs.close()

    before = open_descriptors()
    run(scenario)
    assert open_descriptors() <= before


@pytest.mark.parametrize("what", ["a pipe", "unsealed", "too short", "two of them", "unannounced"])
def test_a_hostile_descriptor_is_refused_and_closed(what: str) -> None:
    async def scenario(connections: WorkerConnections) -> None:
        before = open_descriptors()
        ours, theirs = socket.socketpair()
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        connections.attach(ONE, ours)
        connections.send(ONE, RequestId(1), META, b"", answer.set_result)
        wire = encode(Kind.REPLY, 1, ReplyMeta(), 5000, Flag.IN_REGION | Flag.NEW_REGION)
        if what == "a pipe":
            mine = list(os.pipe())
        elif what == "unsealed":
            mine = [os.memfd_create("loose", os.MFD_ALLOW_SEALING)]
            os.truncate(mine[0], 5000)
        elif what == "too short":
            mine = [create_region(4096)]
        elif what == "two of them":
            mine = [create_region(8192), create_region(8192)]
        else:
            mine = [create_region(8192)]
            wire = encode(Kind.REPLY, 1, ReplyMeta(), 0)
        sent = mine if what == "two of them" else mine[:1]
        passed = [
            (socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(descriptor_message(fd)[0][2] for fd in sent))
        ]
        theirs.sendmsg([wire], passed)
        reply = await answer
        assert isinstance(reply.error, WorkerDied) or what == "unannounced"
        assert ONE not in connections or what == "unannounced"
        for descriptor in mine:
            os.close(descriptor)
        theirs.close()
        await few_open(before)

    run(scenario)


def test_regions_that_grow_and_many_workers_leave_no_descriptor(start_worker: StartWorker) -> None:
    async def scenario(connections: WorkerConnections) -> None:
        for instance in range(5):
            connections.attach(InstanceId(instance), start_worker(echo))
            await connections.call(InstanceId(instance), RequestId(1), META, bytes(2**20))
            await connections.call(InstanceId(instance), RequestId(2), META, bytes(2**21))

    run(scenario)
