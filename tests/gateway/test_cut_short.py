"""Requests that end otherwise than by an answer of their worker: it dies, the client leaves, time is up."""

from __future__ import annotations

import asyncio
import socket
import threading

import httpx
import pytest

from glowplug.core.events import LeaseReport, RequestArrived, RequestCancelled, RequestStarted
from glowplug.core.ids import InstanceId
from glowplug.transport import worker_side
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

from .fakes import ECHO, WAIT_S, House, echo, run


def test_a_worker_that_dies_under_a_lease_is_a_502_and_lent_no_more() -> None:
    def die(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        raise BrokenPipeError

    async def scenario(house: House) -> None:
        instance = house.start_worker(die, lend=True)
        call = asyncio.create_task(house.http.post("/function/echo", content=b"x"))
        while not house.gateway.invoker.fallen():
            await asyncio.sleep(0)
        house.gateway.detach(instance, "killed by SIGSEGV")
        answer = await call
        assert answer.status_code == 502
        error = answer.json()["error"]
        assert error == {"code": "worker_died", "message": f"the worker of {ECHO} died: killed by SIGSEGV"}
        house.control.on_arrived = lambda event: house.control.reject(event.request, "unavailable")
        assert (await house.http.post("/function/echo")).status_code == 503

    run(scenario)


@pytest.mark.parametrize("leased", [False, True])
def test_a_client_that_leaves_cancels_its_request(leased: bool) -> None:
    async def scenario(house: House) -> None:
        hold, runs = threading.Event(), threading.Event()

        def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            runs.set()
            hold.wait(WAIT_S)
            endpoint.error(incoming.request, "cancelled", "it was cancelled")

        instance = house.start_worker(slow, lend=True) if leased else None
        call = asyncio.create_task(house.http.post("/function/echo"))
        while not (runs.is_set() if leased else house.gateway.active):
            await asyncio.sleep(0)
        call.cancel()
        (cancelled,) = await house.control.seen(RequestCancelled)
        assert cancelled.instance == instance  # type: ignore[attr-defined]
        hold.set()
        if leased:
            await house.control.seen(LeaseReport)
        while house.gateway.active:
            await asyncio.sleep(0)
        assert house.gateway.invoker.waiting() == 0

    run(scenario)


def test_one_that_waits_behind_another_is_dropped_without_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_side, "STALE_S", 0.0)

    async def scenario(house: House) -> None:
        hold, seen = threading.Event(), list[bytes]()

        def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            seen.append(bytes(incoming.body))
            hold.wait(WAIT_S)
            echo(endpoint, incoming)

        instance = house.start_worker(slow)
        house.control.lend(instance, slots=3)
        first = asyncio.create_task(house.http.post("/function/echo", content=b"1"))
        while not seen:
            await asyncio.sleep(0)
        second = asyncio.create_task(house.http.post("/function/echo", content=b"2"))
        while house.gateway.active < 2:
            await asyncio.sleep(0)
        second.cancel()
        while house.gateway.active > 1:
            await asyncio.sleep(0)
        third = asyncio.create_task(house.http.post("/function/echo", content=b"3"))
        while house.gateway.active < 2:
            await asyncio.sleep(0)
        hold.set()
        assert [(await call).content for call in (first, third)] == [b"1", b"3"]
        house.gateway.invoker.report()
        assert seen == [b"1", b"3"]
        assert {type(event) for event in house.control.events} == {LeaseReport}
        assert len(house.gateway.deadlines) == 0

    run(scenario)


def test_a_worker_that_dies_takes_only_what_it_had_begun_with_it() -> None:
    async def scenario(house: House) -> None:
        go = threading.Event()

        def die(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            go.wait(WAIT_S)
            raise BrokenPipeError

        instance = house.start_worker(die)
        house.control.lend(instance, slots=3)
        calls = [asyncio.create_task(house.http.post("/function/echo", content=b"%d" % n)) for n in range(3)]
        while house.gateway.active < 3:
            await asyncio.sleep(0)
        other = house.start_worker()
        house.control.on_arrived = lambda event: house.control.dispatch(event.request, other)
        go.set()
        while not house.gateway.invoker.fallen():
            await asyncio.sleep(0)
        house.gateway.detach(instance, "killed by SIGSEGV")
        answers = [await call for call in calls]
        assert sorted(answer.status_code for answer in answers) == [200, 200, 502]

    run(scenario)


def test_one_that_a_dead_worker_never_began_is_asked_for_again_once() -> None:
    """Sent by the controller's word: it is to forget the first asking, and hears of the second."""

    async def scenario(house: House) -> None:
        ours, theirs = socket.socketpair()
        house.gateway.attach(InstanceId(7), ours)
        good = house.start_worker()
        house.control.on_arrived = lambda event: house.control.dispatch(event.request, InstanceId(7))
        call = asyncio.create_task(house.http.post("/function/echo", content=b"x"))
        await house.control.seen(RequestStarted)
        house.control.on_arrived = lambda event: house.control.dispatch(event.request, good)
        theirs.close()
        answer = await call
        assert answer.content == b"x"
        first, second = (event.request for event in await house.control.seen(RequestArrived, 2))  # type: ignore[attr-defined]
        assert first != second
        assert answer.headers["x-glowplug-request"] == str(second)
        (cancelled,) = await house.control.seen(RequestCancelled)
        assert (cancelled.request, cancelled.instance) == (first, 7)  # type: ignore[attr-defined]

    run(scenario)


def test_the_deadline_of_a_leased_request_is_the_gateways_to_watch() -> None:
    async def scenario(house: House) -> None:
        hold, runs = threading.Event(), threading.Event()

        def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            runs.set()
            hold.wait(WAIT_S)
            endpoint.error(incoming.request, "cancelled", "it was cancelled")

        instance = house.start_worker(slow, lend=True)
        asked = asyncio.create_task(house.http.post("/function/echo", headers={"x-glowplug-timeout": "1000"}))
        while not runs.is_set():
            await asyncio.sleep(0)
        house.gateway.deadlines._clock = lambda: house.gateway.clock() + 1001
        answer = await asked
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_passed")
        message = answer.json()["error"]["message"]
        assert message.endswith("it had 60 s, which the function's own timeout= sets: raise that")
        (cancelled,) = await house.control.seen(RequestCancelled)
        assert cancelled.instance == instance  # type: ignore[attr-defined]
        hold.set()

    run(scenario)


def test_nothing_answers_a_client_that_already_left_while_it_sent() -> None:
    async def scenario(house: House) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
        writer.write(b"POST /function/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        with pytest.raises(httpx.HTTPStatusError):
            (await house.http.get("/function/echo")).raise_for_status()
        assert house.control.events == []

    run(scenario)
