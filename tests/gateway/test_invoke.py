"""A function's requests, over real HTTP to real worker endpoints."""

from __future__ import annotations

import asyncio
import threading

import pytest

from glowplug.core.commands import Revoke
from glowplug.core.events import LeaseReport, RequestArrived, RequestDone, RequestStarted
from glowplug.core.ids import CommandId, InstanceId
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

from .fakes import ECHO, GATEWAY, WAIT_S, House, echo, run


def test_a_cold_request_asks_the_controller_and_reports_how_it_went() -> None:
    async def scenario(house: House) -> None:
        def climb(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            phases = {"fork": 1e-5, "build": 1e-5, "first_compute": 2e-5, "made_up": 9.0}
            endpoint.reply(incoming.request, 200, "text/plain", bytes(incoming.body), phases)

        instance = house.start_worker(climb)
        house.control.on_arrived = lambda event: house.control.dispatch(event.request, instance)
        answer = await house.http.post(
            "/function/echo", content=b"hello", headers={"x-glowplug-priority": "batch"}
        )
        assert (answer.status_code, answer.content) == (200, b"hello")
        arrived, started, done = house.control.events
        assert isinstance(arrived, RequestArrived)
        assert (arrived.function, arrived.body_bytes, arrived.priority) == (ECHO, 5, 2)
        assert started == RequestStarted(arrived.request, instance)
        assert isinstance(done, RequestDone)
        assert (done.request, done.instance, done.ok, done.took_s) == (arrived.request, instance, True, 2e-5)
        assert answer.headers["x-glowplug-request"] == str(arrived.request)
        assert answer.headers["x-glowplug-origin"] == "imported"
        names = [entry.split(";")[0] for entry in answer.headers["server-timing"].split(", ")]
        assert names == ["queue", "fork", "build", "first_compute", "reply"]
        trace = house.gateway.traces.find(arrived.request)
        assert trace is not None
        assert sum(trace.phases.values()) == pytest.approx(trace.total_s)

    run(scenario)


def test_requests_of_one_batch_say_how_many_they_are_and_a_lone_one_does_not() -> None:
    async def scenario(house: House) -> None:
        seen: dict[bytes, int] = {}

        def note(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            seen[bytes(incoming.body)] = incoming.together
            echo(endpoint, incoming)

        instance = house.start_worker(note)
        places = (("main", b"a"), ("main", b"b"), ("other", b"c"))
        asked = [
            asyncio.create_task(house.http.post(f"/function/echo/{endpoint}", content=body))
            for endpoint, body in places
        ]
        arrived = await house.control.seen(RequestArrived, 3)
        house.control.dispatch_batch(tuple(event.request for event in arrived), instance)  # type: ignore[attr-defined]
        await asyncio.gather(*asked)
        assert seen == {b"a": 2, b"b": 2, b"c": 1}
        house.control.on_arrived = lambda event: house.control.dispatch(event.request, instance)
        await house.http.post("/function/echo", content=b"d")
        assert seen[b"d"] == 0, "that is the worker's to decide"

    run(scenario)


def test_a_warm_request_goes_by_itself_and_is_reported_in_batches() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        for number in range(5):
            answer = await house.http.post("/function/echo.default/other", content=b"%d" % number)
            assert answer.content == b"%d" % number
            assert answer.headers["x-glowplug-origin"] == "parked"
        house.gateway.invoker.report()
        assert {type(event) for event in house.control.events} == {LeaseReport}
        assert sum(event.done for event in await house.control.seen(LeaseReport)) == 5  # type: ignore[attr-defined]

    run(scenario)


def test_a_revoked_lease_is_given_back_as_soon_as_its_request_is_done() -> None:
    async def scenario(house: House) -> None:
        hold = threading.Event()

        def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            hold.wait(WAIT_S)
            endpoint.reply(incoming.request, 200, "text/plain", b"")

        instance = house.start_worker(slow, lend=True)
        call = asyncio.create_task(house.http.post("/function/echo"))
        while not house.gateway.active:
            await asyncio.sleep(0)
        house.gateway.on_command(Revoke(CommandId(9), GATEWAY, instance))
        waiting = asyncio.create_task(house.http.post("/function/echo"))
        await house.control.seen(RequestArrived)
        assert not any(getattr(event, "final", False) for event in house.control.events)
        hold.set()
        assert (await call).status_code == 200
        assert any(getattr(event, "final", False) for event in await house.control.seen(LeaseReport))
        house.control.dispatch(arrived(house), instance)
        assert (await waiting).status_code == 200

    run(scenario, report_every_s=60.0)


def arrived(house: House) -> int:
    return next(event.request for event in house.control.events if isinstance(event, RequestArrived))


@pytest.mark.parametrize(
    ("code", "status", "retry_after"),
    [
        ("queue_full", 429, "2"),
        ("overloaded", 503, "2"),
        ("deadline_passed", 504, None),
        ("weights", 422, None),
    ],
)
def test_a_refusal_has_its_status_and_says_when_to_come_again(
    code: str, status: int, retry_after: str | None
) -> None:
    async def scenario(house: House) -> None:
        house.control.on_arrived = lambda event: house.control.reject(
            event.request, code, 1.2 if retry_after else None
        )
        headers = {"x-glowplug-timeout": "5"}
        answer = await house.http.post("/function/echo", content=b"{}", headers=headers)
        assert answer.status_code == status
        assert answer.headers.get("retry-after") == retry_after
        more = "; it had 5 s" if code == "deadline_passed" else ""
        assert answer.json() == {"error": {"code": code, "message": f"because {code}{more}"}}

    run(scenario)


def test_an_error_of_the_function_says_which_field() -> None:
    def refuse(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        endpoint.error(incoming.request, "invalid_arguments", "argument 'text' is missing", "text")

    async def scenario(house: House) -> None:
        house.start_worker(refuse, lend=True)
        answer = await house.http.post("/function/echo", json={})
        assert answer.status_code == 422
        assert answer.json()["error"]["field"] == "text"

    run(scenario)


def test_the_controller_has_the_word_on_why_a_climb_failed() -> None:
    async def scenario(house: House) -> None:
        def die(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            raise BrokenPipeError

        instance = house.start_worker(die)
        house.control.on_arrived = lambda event: house.control.dispatch(event.request, instance)
        call = asyncio.create_task(house.http.post("/function/echo"))
        await house.control.seen(RequestStarted)
        while instance in house.gateway.connections:
            await asyncio.sleep(0)
        house.gateway.detach(instance)
        house.control.reject(arrived(house), "weights")
        answer = await call
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "weights")

    run(scenario)


def test_a_lease_of_a_worker_that_is_gone_is_passed_over() -> None:
    async def scenario(house: House) -> None:
        house.control.lend(InstanceId(77))
        good = house.start_worker()
        house.control.on_arrived = lambda event: house.control.dispatch(event.request, good)
        assert (await house.http.post("/function/echo", content=b"x")).content == b"x"

    run(scenario)


def test_a_dispatch_may_come_before_its_instance_and_after_its_request() -> None:
    async def scenario(house: House) -> None:
        call = asyncio.create_task(house.http.post("/function/echo", content=b"x"))
        await house.control.seen(RequestArrived)
        house.control.dispatch(arrived(house), InstanceId(1))
        assert house.start_worker() == 1
        assert (await call).content == b"x"
        await house.control.seen(RequestDone)
        house.control.dispatch(arrived(house), InstanceId(1))
        late = (await house.control.seen(RequestDone, 2))[-1]
        assert late == RequestDone(arrived(house), InstanceId(1), ok=False, took_s=0.0)

    run(scenario)


def test_draining_lets_requests_finish_and_takes_no_more() -> None:
    async def scenario(house: House) -> None:
        hold = threading.Event()

        def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            hold.wait(WAIT_S)
            endpoint.reply(incoming.request, 200, "text/plain", b"done")

        house.start_worker(slow, lend=True)
        call = asyncio.create_task(house.http.post("/function/echo"))
        while not house.gateway.active:
            await asyncio.sleep(0)
        assert (await house.http.get("/readyz")).status_code == 200
        draining = asyncio.create_task(house.gateway.drain())
        await asyncio.sleep(0)
        assert (await house.http.get("/readyz")).status_code == 503
        assert (await house.http.get("/livez")).status_code == 200
        late = await house.http.post("/function/echo")
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        hold.set()
        assert (await call).content == b"done"
        assert await draining is True

    run(scenario)


def test_many_at_once_each_get_their_own_answer() -> None:
    async def scenario(house: House) -> None:
        instances = [house.start_worker(lend=True) for _ in range(2)]
        turn = iter(range(10**6))
        house.control.on_arrived = lambda event: house.control.dispatch(
            event.request, instances[next(turn) % 2]
        )
        answers = await asyncio.gather(
            *[house.http.post("/function/echo", content=b"%d" % n * (1 + n * 1000)) for n in range(40)]
        )
        assert [a.content for a in answers] == [b"%d" % n * (1 + n * 1000) for n in range(40)]
        metrics = (await house.http.get("/metrics")).text
        assert 'glowplug_requests_total{function="echo.default",status="200"} 40' in metrics

    run(scenario)


def test_a_worker_that_speaks_of_a_death_is_not_taken_for_dead() -> None:
    """The code may be of an error that it was told itself."""

    def relay(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        if incoming.body:
            endpoint.error(incoming.request, "worker_died", "the worker of inner died")
        else:
            endpoint.reply(incoming.request, 200, "text/plain", b"here")

    async def scenario(house: House) -> None:
        house.start_worker(relay, lend=True)
        for _ in range(2):
            answer = await house.http.post("/function/echo", content=b"x")
            told = {"code": "function_failed", "message": "the worker of inner died"}
            assert (answer.status_code, answer.json()["error"]) == (500, told)
            assert (await house.http.post("/function/echo")).text == "here"

    run(scenario)
