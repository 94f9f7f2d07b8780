"""Spawned calls over real HTTP, to real worker endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import uvloop

from glowplug.core.events import RequestArrived, RequestCancelled
from glowplug.core.priority import Priority
from glowplug.gateway.flight import FunctionInfo
from glowplug.transport.frames import Kind, ReplyMeta
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

from .fakes import ECHO, WAIT_S, House, running
from .test_streams import Streamer


def run(folder: Path, scenario: Callable[[House], Awaitable[None]], **changes: object) -> None:
    async def whole() -> None:
        async with running(calls_in=folder, **changes) as house:  # type: ignore[arg-type]
            await scenario(house)

    uvloop.run(whole())


async def spawn(house: House, body: bytes = b"hello", path: str = "echo", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await house.http.post(f"/async-function/{path}", content=body, headers=named)


async def result(house: House, spawned: httpx.Response) -> httpx.Response:
    assert spawned.status_code == 202, spawned.text
    return await house.http.get(f"/system/calls/{spawned.headers['x-call-id']}/result?wait={WAIT_S}")


def test_a_call_is_acknowledged_with_its_id_and_its_result_has_its_own_type(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        accepted = await spawn(house, content_type="image/png", path="echo.default/other")
        call = accepted.headers["x-call-id"]
        assert accepted.json()["id"] == call
        assert accepted.headers["location"] == f"/system/calls/{call}"
        assert accepted.headers["x-function-name"] == ECHO
        answer = await result(house, accepted)
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (
            200,
            b"hello",
            "image/png",
        )
        assert answer.headers["x-call-state"] == "done"
        shown = (await house.http.get(f"/system/calls/{call}")).json()
        assert (shown["state"], shown["endpoint"], shown["result_bytes"]) == ("done", "other", 5)
        assert (await house.http.get("/system/calls?function=echo&state=done")).json() == [shown]
        assert (await house.http.get("/system/calls?state=dead-letter")).json() == []
        assert "glowplug_spawned_calls_done 1" in (await house.http.get("/metrics")).text
        assert len(house.gateway.traces.recent(ECHO, 10)) == 1

    run(tmp_path, scenario)


def test_a_call_goes_through_the_controller_in_the_background(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        instance = house.start_worker()
        house.control.on_arrived = lambda event: house.control.dispatch(event.request, instance)
        await result(house, await spawn(house))
        await result(house, await spawn(house, x_glowplug_priority="2"))
        arrived = await house.control.seen(RequestArrived, 2)
        assert [event.priority for event in arrived] == [Priority.BACKGROUND, Priority.BATCH]  # type: ignore[attr-defined]

    run(tmp_path, scenario)


def test_a_refusal_passes_and_a_mistake_stays(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        def choosy(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            if bytes(incoming.body) == b"bad":
                endpoint.error(incoming.request, "invalid_arguments", "argument 'a' is missing", "a")
            else:
                endpoint.reply(incoming.request, 200, "text/plain", b"well")

        instance = house.start_worker(choosy)
        codes = ["queue_full", "unavailable"]

        def refuse_twice(event: RequestArrived) -> None:
            if codes:
                house.control.reject(event.request, codes.pop())
            else:
                house.control.dispatch(event.request, instance)

        house.control.on_arrived = refuse_twice
        accepted = await spawn(house)
        assert (await result(house, accepted)).content == b"well"
        assert accepted.json()["idempotent"] is False
        shown = (await house.http.get(accepted.headers["location"])).json()
        assert (shown["attempts"], shown["refusals"]) == (1, 2)
        failed = await result(house, await spawn(house, b"bad"))
        assert (failed.status_code, failed.json()["error"]["code"]) == (422, "invalid_arguments")
        assert failed.headers["x-call-state"] == "failed"

    run(tmp_path, scenario)


@pytest.mark.parametrize(("idempotent", "state", "attempts"), [(False, "lost", 1), (True, "done", 2)])
def test_a_worker_that_dies(tmp_path: Path, idempotent: bool, state: str, attempts: int) -> None:
    async def scenario(house: House) -> None:
        if idempotent:
            house.functions[ECHO] = FunctionInfo(("main", "other"), WAIT_S, idempotent=frozenset({"main"}))

        def dies(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
            raise BrokenPipeError

        workers = [house.start_worker(dies), house.start_worker()]

        def dispatch(event: RequestArrived) -> None:
            first = workers.pop(0)
            house.control.dispatch(event.request, first)
            if workers:
                asyncio.get_running_loop().call_soon(house.control.reject, event.request, "worker_died")

        house.control.on_arrived = dispatch
        accepted = await spawn(house)
        answer = await result(house, accepted)
        assert answer.headers["x-call-state"] == state
        assert (await house.http.get(accepted.headers["location"])).json()["attempts"] == attempts
        if state == "lost":
            assert answer.status_code == 502
            refused = await house.http.post(f"{accepted.headers['location']}/retry")
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "call_not_retriable")
            retried = await house.http.post(f"{accepted.headers['location']}/retry", json={"lost": True})
            assert (retried.status_code, retried.json()["state"]) == (202, "waiting")
            assert (await result(house, accepted)).status_code == 200

    run(tmp_path, scenario)


def test_a_call_is_cancelled(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        accepted = await spawn(house)
        where = accepted.headers["location"]
        (arrived,) = await house.control.seen(RequestArrived)
        unfinished = await house.http.get(f"{where}/result")
        assert (unfinished.status_code, unfinished.json()["state"]) == (202, "started")
        assert (await house.http.delete(where)).json()["state"] == "cancelled"
        (cancelled,) = await house.control.seen(RequestCancelled)
        assert cancelled.request == arrived.request  # type: ignore[attr-defined]
        gone = await house.http.get(f"{where}/result")
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "call_cancelled")
        assert house.gateway.active == 0

    run(tmp_path, scenario)


def test_a_call_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        accepted = await spawn(house, x_glowplug_deadline="30")
        (arrived,) = await house.control.seen(RequestArrived)
        facts = accepted.json()
        assert facts["deadline_s"] - facts["created_s"] == pytest.approx(30)
        assert arrived.deadline_s <= facts["deadline_s"] + 0.01  # type: ignore[attr-defined]
        house.control.on_arrived = lambda event: house.control.reject(event.request, "deadline_passed")
        # Whether or not it comes to be asked for before.
        answer = await result(house, await spawn(house, x_glowplug_deadline="0.05"))
        assert (answer.status_code, answer.headers["x-call-state"]) == (504, "dead")

    run(tmp_path, scenario)


def test_a_key_gives_the_same_call(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        first = await spawn(house, idempotency_key='"order-7"')
        assert "idempotency-replayed" not in first.headers
        await result(house, first)
        again = await spawn(house, idempotency_key='"order-7"')
        assert again.headers["x-call-id"] == first.headers["x-call-id"]
        assert (again.headers["idempotency-replayed"], again.json()["state"]) == ("true", "done")
        other = await spawn(house, b"other", idempotency_key='"order-7"')
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")

    run(tmp_path, scenario)


def test_a_function_that_is_gone_fails_its_calls_by_name(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        house.control.on_arrived = lambda event: house.control.reject(event.request, "unavailable")
        accepted = await spawn(house)
        await house.control.seen(RequestArrived)
        del house.functions[ECHO]
        answer = await result(house, accepted)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_function")

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", "/async-function/nobody", {}, 404, "unknown_function"),
        ("POST", "/async-function/echo/none", {}, 404, "unknown_endpoint"),
        ("POST", "/async-function/..%2fx", {}, 400, "invalid_name"),
        ("GET", "/async-function/echo", {}, 405, "method_not_allowed"),
        ("POST", "/async-function/echo", {"x-glowplug-deadline": "soon"}, 400, "bad_request"),
        ("POST", "/async-function/echo", {"x-glowplug-deadline": "nan"}, 400, "bad_request"),
        ("POST", "/async-function/echo", {"idempotency-key": ""}, 400, "bad_request"),
        ("POST", "/async-function/echo", {"idempotency-key": "k" * 256}, 400, "bad_request"),
        ("POST", "/async-function/echo", {"x-callback-url": "gopher://x"}, 400, "bad_request"),
        ("GET", "/system/calls/nobody", {}, 404, "unknown_call"),
        ("GET", "/system/calls/nobody/result", {}, 404, "unknown_call"),
        ("GET", "/system/calls/%00%ff%ed%a0%80/result?wait=1", {}, 404, "unknown_call"),
        ("DELETE", "/system/calls/nobody", {}, 404, "unknown_call"),
        ("POST", "/system/calls/nobody/retry", {}, 404, "unknown_call"),
        ("GET", "/system/calls/nobody?wait=long", {}, 422, "invalid_arguments"),
        ("GET", "/system/calls?state=sleepy", {}, 422, "invalid_arguments"),
        ("GET", "/system/calls?limit=-1", {}, 422, "invalid_arguments"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    tmp_path: Path, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async def scenario(house: House) -> None:
        answer = await house.http.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        assert house.calls is not None
        assert not house.calls.store.totals["waiting"]

    run(tmp_path, scenario)


def test_bodies_are_bounded_and_a_draining_server_takes_none(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        big = await spawn(house, b"x" * 2000)
        assert (big.status_code, big.json()["error"]["code"]) == (413, "body_too_large")
        house.gateway.draining = True
        late = await spawn(house)
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")

    run(tmp_path, scenario, max_body_bytes=1000)


@pytest.mark.parametrize(("chunks", "state", "status"), [(5, "done", 200), (50, "failed", 413)])
def test_a_stream_becomes_one_result_and_a_long_one_an_error(
    tmp_path: Path, chunks: int, state: str, status: int
) -> None:
    async def scenario(house: House) -> None:
        worker = Streamer(house)
        try:
            accepted = await spawn(house)
            request = await worker.begin("application/x-ndjson")
            for _ in range(chunks):
                await worker.say(Kind.CHUNK, request, None, b"x" * 100)
            await worker.say(Kind.END, request, ReplyMeta(phases={"compute": 0.5}))
            answer = await result(house, accepted)
            assert (answer.status_code, answer.headers["x-call-state"]) == (status, state)
            if status == 200:
                assert answer.content == b"x" * 500
                assert answer.headers["content-type"] == "application/x-ndjson"
        finally:
            worker.close()

    run(tmp_path, scenario, max_body_bytes=1000)


def test_without_a_store_there_is_nothing_to_spawn() -> None:
    async def whole() -> None:
        async with running() as house:
            assert (await house.http.post("/async-function/echo")).status_code == 404
            assert (await house.http.get("/system/calls")).status_code == 404

    uvloop.run(whole())
