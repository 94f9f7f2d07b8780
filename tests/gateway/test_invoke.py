"""A function's requests, over real HTTP to real worker endpoints."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable

import httpx
import pytest
import uvloop

from glowplug.core.commands import Revoke
from glowplug.core.events import LeaseReport, RequestArrived, RequestCancelled, RequestDone, RequestStarted
from glowplug.core.ids import CommandId, InstanceId
from glowplug.transport import worker_side
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

from .fakes import ECHO, GATEWAY, House, echo, running


def run(scenario: Callable[[House], Awaitable[None]], **changes: object) -> None:
    async def whole() -> None:
        async with running(**changes) as house:  # type: ignore[arg-type]
            await scenario(house)

    uvloop.run(whole())


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
            hold.wait(10)
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
        answer = await house.http.post("/function/echo", content=b"{}")
        assert answer.status_code == status
        assert answer.headers.get("retry-after") == retry_after
        assert answer.json() == {"error": {"code": code, "message": f"because {code}"}}

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


@pytest.mark.parametrize("leased", [False, True])
def test_a_client_that_leaves_cancels_its_request(leased: bool) -> None:
    async def scenario(house: House) -> None:
        hold, runs = threading.Event(), threading.Event()

        def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            runs.set()
            hold.wait(10)
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
            hold.wait(10)
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
            go.wait(10)
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
        hold = threading.Event()

        def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            hold.wait(10)
            endpoint.error(incoming.request, "cancelled", "it was cancelled")

        instance = house.start_worker(slow, lend=True)
        answer = await house.http.post("/function/echo", headers={"x-glowplug-timeout": "0.05"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_passed")
        (cancelled,) = await house.control.seen(RequestCancelled)
        assert cancelled.instance == instance  # type: ignore[attr-defined]
        hold.set()

    run(scenario)


HOSTILE_NAMES = [
    "", "..", "../../etc/passwd", "%2e%2e%2f%2e%2e", "a%2fb", "%00", "a" * 10_000, "%C3%BCn%C3%AFcode",
    "echo.default.x", "echo/%2e%2e/other", "echo/main/extra", "echo/" + "b" * 10_000, "ECHO", "-echo",
    "echo.", "echo%0d%0aX: y",
]  # fmt: skip


async def post_as_it_is(house: House, path: str) -> tuple[int, dict[str, str], bytes]:
    """(status, error, body): a client of its own would resolve the dots in a path."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
    head = f"POST {path.replace(' ', '%20')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
    answer = await reader.read()
    writer.close()
    content = answer.partition(b"\r\n\r\n")[2]
    return int(answer.split()[1]), json.loads(content)["error"], content


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: name[:20])
def test_hostile_names_are_answered_cleanly(name: str) -> None:
    async def scenario(house: House) -> None:
        status, error, content = await post_as_it_is(house, f"/function/{name}")
        assert status in (400, 404)
        assert error["code"] in ("invalid_name", "unknown_function", "unknown_endpoint")
        assert len(content) < 1000
        assert house.control.events == []
        metrics = (await house.http.get("/metrics")).text
        assert 'function="",status="4' in metrics or 'function="echo.default",status="404"' in metrics

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/function/nobody", {}, 404),
        ("POST", "/function/echo/nowhere", {}, 404),
        ("GET", "/function/echo", {}, 405),
        ("POST", "/function/echo", {"x-glowplug-timeout": "soon"}, 400),
        ("POST", "/function/echo", {"x-glowplug-timeout": "nan"}, 400),
        ("POST", "/function/echo", {"x-glowplug-priority": "1000"}, 400),
        ("POST", "/function/echo", {"x-glowplug-priority": "urgent"}, 400),
        ("POST", "/function/echo", {"content-type": "x" * 1000}, 400),
        ("POST", "/function/echo", {"origin": "http://evil.example"}, 401),
        ("POST", "/function/echo", {"host": "evil.example"}, 401),
    ],
)
def test_what_makes_no_sense_is_refused(method: str, path: str, headers: dict[str, str], status: int) -> None:
    async def scenario(house: House) -> None:
        answer = await house.http.request(method, path, headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"]["message"]

    run(scenario)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversize_body_is_a_413_and_harms_nobody(chunked: bool) -> None:
    async def scenario(house: House) -> None:
        async def chunks() -> object:
            for _ in range(40):
                yield bytes(1000)

        house.start_worker(lend=True)
        answer = await house.http.post("/function/echo", content=chunks() if chunked else bytes(40_000))  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        assert (await house.http.post("/function/echo", content=bytes(1024))).content == bytes(1024)

    run(scenario, max_body_bytes=10_000)


def test_a_big_body_goes_through_unread() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        body = bytes(range(256)) * 8192
        for _ in range(3):
            headers = {"content-type": "application/x-npy", "accept": "application/x-npy"}
            answer = await house.http.post("/function/echo", content=body, headers=headers)
            assert answer.content == body
            assert answer.headers["content-type"] == "application/x-npy"

    run(scenario)


def test_a_client_too_slow_with_its_body_is_given_up() -> None:
    async def scenario(house: House) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
        writer.write(
            b"POST /function/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
            b"X-Glowplug-Timeout: 0.05\r\n\r\nabc"
        )
        assert b" 504 " in await reader.readline()
        writer.close()
        assert house.control.events == []

    run(scenario)


def test_draining_lets_requests_finish_and_takes_no_more() -> None:
    async def scenario(house: House) -> None:
        hold = threading.Event()

        def slow(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            hold.wait(10)
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


def test_a_token_opens_everything_and_its_lack_only_health() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        for path in ("/livez", "/readyz", "/healthz"):
            assert (await house.http.get(path)).status_code == 200
        for wrong in ({}, {"authorization": "Bearer nope"}, {"authorization": "Bearer s3cre"}):
            for method, path in (
                ("POST", "/function/echo"),
                ("GET", "/system/functions"),
                ("GET", "/metrics"),
            ):
                answer = await house.http.request(method, path, headers=wrong)
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        house.http.headers["authorization"] = "Bearer s3cret"
        assert (await house.http.post("/function/echo", content=b"x")).content == b"x"
        assert (await house.http.get("/system/functions")).status_code == 200

    run(scenario, token="s3cret")


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
