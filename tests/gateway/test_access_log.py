"""Each request leaves one line, whatever became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from glowplug.gateway.access_log import AccessLogged, Entry, Lines
from glowplug.gateway.answers import Receive, Scope, Send
from glowplug.gateway.flight import FunctionInfo

from .fakes import ECHO, House, running


def known(function: str) -> FunctionInfo | None:
    return FunctionInfo(("main", "other")) if function == ECHO else None


def shown(entry: Entry) -> dict[str, Any]:
    return json.loads(Lines(known).line(entry))  # type: ignore[no-any-return]


def logged(
    scenario: Callable[[House], Awaitable[None]], calls_in: Path | None = None
) -> list[dict[str, Any]]:
    entries: list[Entry] = []

    async def whole() -> None:
        async with running(log=entries.append, calls_in=calls_in) as house:
            await scenario(house)

    asyncio.run(whole())
    return [shown(entry) for entry in entries]


def test_a_line_has_all_there_is_to_know() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        await house.http.post("/function/echo", content=b"12345")
        await house.http.post("/function/echo/other", content=b"12345")

    first, second = logged(scenario)
    assert first["time"].endswith("Z")
    assert first["client"].startswith("127.0.0.1:")
    assert first["request"] + 1 == second["request"] > 1
    assert (first["method"], first["path"], first["status"]) == ("POST", "/function/echo", 200)
    assert (first["function"], first["endpoint"], second["endpoint"]) == (ECHO, "main", "other")
    assert (first["origin"], first["received_bytes"], first["sent_bytes"]) == ("parked", 5, 5)
    assert {"queue", "compute", "reply"} == set(first["phases_ms"])
    assert sum(first["phases_ms"].values()) <= first["total_ms"] + 0.1


def test_a_spawned_call_leaves_one_line_of_its_function(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        spawned = await house.http.post("/async-function/echo/other", content=b"12345")
        await house.http.get(f"/system/calls/{spawned.headers['x-call-id']}/result?wait=60")
        await house.http.post("/async-function/nobody")

    accepted, asked, nobody = logged(scenario, tmp_path)
    assert (accepted["path"], accepted["status"]) == ("/async-function/echo/other", 202)
    assert (accepted["function"], accepted["endpoint"]) == (ECHO, "other")
    assert (asked["function"], nobody["function"], nobody["status"]) == ("", "", 404)


def test_refusals_and_the_admin_interface_are_logged_too() -> None:
    async def scenario(house: House) -> None:
        await house.http.post("/function/nobody")
        await house.http.get("/system/functions?token=secret")
        await house.http.get("/caf\u00e9/" + "x" * 1000)

    nobody, listed, strange = logged(scenario)
    assert (nobody["status"], nobody["function"], nobody["request"], nobody["phases_ms"]) == (404, "", 0, {})
    assert (listed["status"], listed["path"], listed["function"]) == (200, "/system/functions", "")
    assert listed["sent_bytes"] > 10
    assert strange["path"].startswith("/caf%C3%A9/xxx")
    assert len(strange["path"]) == 500


@pytest.mark.parametrize("how", ["left", "raised"])
def test_a_request_without_an_answer_leaves_a_line(how: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if how == "raised":
            raise ValueError(how)

    entries: list[Entry] = []
    scope = {"type": "http", "method": "POST", "raw_path": b"/a\xff", "client": None}
    calls = AccessLogged(app, entries.append)(scope, None, None)  # type: ignore[arg-type]
    if how == "raised":
        with pytest.raises(ValueError, match=how):
            asyncio.run(calls)
    else:
        asyncio.run(calls)
    (entry,) = entries
    assert (shown(entry)["status"], shown(entry)["client"]) == (499 if how == "left" else 500, "")


def test_a_client_that_leaves_leaves_a_line() -> None:
    async def scenario(house: House) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
        writer.write(b"POST /function/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await house.http.get("/livez")).status_code == 200

    left, alive = sorted(logged(scenario), key=lambda found: found["path"])
    assert (left["status"], left["received_bytes"], left["sent_bytes"]) == (499, 3, 0)
    assert (alive["path"], alive["status"]) == ("/livez", 200)


def test_lines_that_are_lost_are_counted_in_place() -> None:
    assert json.loads(Lines(known).lost(7))["lost_lines"] == 7


def test_what_a_client_asks_for_is_kept_by_its_path_alone() -> None:
    """Each with a query of its own, however long."""
    lines = Lines(known)
    for number in range(50):
        path = b"/function/echo?id=%d" % number + b"x" * 1000
        lines.line(Entry(0.0, None, b"POST", path, 200, 1, "parked", None, 0, 0, 0.1))
        lines.line(Entry(0.0, None, b"POST", b"/function/none%d" % number, 404, 1, "", None, 0, 0, 0.1))
    assert list(lines._targets) == [b"/function/echo"]
