"""What a server shows of itself, seen from outside: top, logs, metrics, the access log, its description."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import parser

from tests.e2e.conftest import WAIT_S, Door, Server, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def glowplug(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "glowplug", *arguments, "--url", server.url],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def metrics(server: Server) -> dict[tuple[str, ...], float]:
    families = parser.text_string_to_metric_families(server.http.get("/metrics").text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_top_shows_what_happens(server: Server, door: Door, pool: ThreadPoolExecutor) -> None:
    running = pool.submit(server.post, "wait", {"port": door.port})
    visitor = door.visitor()
    waiting = pool.submit(server.post, "wait", {"port": door.port})
    until(lambda: server.client.describe("wait").queued == 1, "the second request waits")
    found = json.loads(glowplug(server, "top", "wait", "--once", "--json", "--interval", "0.1s"))
    (row,) = found["functions"]
    assert (row["function"], row["step"], row["queued"]) == ("wait", "busy", 1)
    assert row["held_bytes"] > 0
    assert found["nodes"][0]["budget_bytes"] > found["nodes"][0]["reserved_bytes"] > 0
    by_function = metrics(server)
    assert by_function["glowplug_queued_requests", "wait.default"] == 1
    assert by_function["glowplug_workers", "wait.default", "busy"] == 1
    visitor.let_go()
    door.visitor().let_go()
    assert running.result().json() == waiting.result().json()
    text = glowplug(server, "top", "--once", "--interval", "0.1s", "--sort", "name")
    assert "wait" in text
    assert "REQ/S" in text


def test_top_in_a_terminal_ends_at_ctrl_c(server: Server) -> None:
    """Drawn again and again on the screen; Ctrl-C is its way to end, and no error."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "glowplug", "top", "--interval", "0.1s", "--url", server.url]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200", "LINES": "40"},
    )  # fmt: skip
    os.close(theirs)
    shown, until_s = b"", time.monotonic() + WAIT_S
    while shown.count(b"REQ/S") < 2:
        assert select.select([ours], [], [], WAIT_S)[0], "it shows nothing"
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):
        while time.monotonic() < until_s and (rest := os.read(ours, 65536)):
            shown += rest
    try:
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
    assert b"Traceback" not in shown
    assert b"add" in shown
    os.close(ours)


def test_logs_are_searched(server: Server) -> None:
    server.post("chatter", {"lines": 3})
    until(lambda: "the end" in [line.text for line in server.client.logs("chatter")], "its last line")
    assert "the end" in glowplug(server, "logs", "chatter", "--grep", "the end", "--since", "10m")
    lines = glowplug(
        server, "logs", "chatter", "--grep", "0000001", "--stream", "stdout", "--json"
    ).splitlines()
    assert len(lines) == 1
    instance = json.loads(lines[0])["instance"]
    assert glowplug(server, "logs", "chatter", "--grep", "the end", "--instance", str(instance))
    assert not glowplug(server, "logs", "chatter", "--grep", "the end", "--instance", str(instance + 1))
    assert not glowplug(server, "logs", "chatter", "--stream", "stderr", "--grep", "the end")
    assert not glowplug(server, "logs", "chatter", "--grep", "th. e", "--tail", "1")


def test_functions_are_described_by_their_annotations(server: Server) -> None:
    document = server.http.get("/openapi.json").json()
    body = document["paths"]["/function/add"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"] == {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}}
    assert body["required"] == ["a"]
    assert "/docs" in document["paths"]
    assert "<script>" in server.http.get("/docs").text


def test_a_cold_start_is_counted_by_step_and_phase(server: Server) -> None:
    def counted() -> float:
        found = metrics(server)
        keys = [("glowplug_cold_start_seconds_count", step, "fork") for step in ("imported", "local")]
        return sum(found.get(key, 0) for key in keys)

    server.client.descend("add", "local")
    before = counted()
    server.post("add", {"a": 1})
    assert counted() > before
    load = server.client.load()
    cold = load.traffic["add.default"].last_cold
    assert cold is not None
    assert 0 < cold.total_s < 60
    assert abs(cold.at_s - load.at_s) < 60


@pytest.fixture(scope="module")
def logged(make_folder: Callable[[], Path]) -> Iterator[Server]:
    folder = make_folder()
    options = ["--access-log", str(folder / "access.jsonl"), "--token", "s3cret"]
    with serving(folder, options=options) as found:
        yield found


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_access_log_is_opened_again_on_sighup(logged: Server) -> None:
    path = logged.folder / "access.jsonl"
    authorized = {"authorization": "Bearer s3cret"}
    assert httpx.get(f"{logged.url}/system/info?key=private").status_code == 401
    assert httpx.post(f"{logged.url}/function/nobody", headers=authorized).status_code == 404
    until(lambda: [e for e in entries(path) if e["path"] == "/function/nobody"], "both are written")
    refused, unknown = entries(path)[-2:]
    assert (refused["path"], refused["status"], refused["method"]) == ("/system/info", 401, "GET")
    assert (unknown["path"], unknown["status"]) == ("/function/nobody", 404)
    path.rename(logged.folder / "access.1")
    os.kill(logged.pid, signal.SIGHUP)
    until(path.exists, "the new file")
    assert httpx.get(f"{logged.url}/livez").status_code == 200
    until(lambda: entries(path), "a line in it")
    assert entries(path)[-1]["path"] == "/livez"
    assert logged.process.poll() is None


def test_top_needs_the_token(logged: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "glowplug", "top", "--once", "--json", "--url", logged.url]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert "GLOWPLUG_TOKEN" in refused.stderr
    monkeypatch.setenv("GLOWPLUG_TOKEN", "s3cret")
    assert json.loads(glowplug(logged, "top", "--once", "--json", "--interval", "0.1s"))["functions"] == []


def test_a_full_disk_costs_the_access_log_only(make_folder: Callable[[], Path]) -> None:
    with serving(make_folder(), options=["--access-log", "/dev/full"]) as full:
        for _ in range(5):
            assert full.http.get("/livez").status_code == 200
        until(lambda: "its lines are lost" in full.log.read_text(), "it is told in the server's log")
        assert full.http.get("/livez").status_code == 200


def test_a_changed_source_is_deployed_again(make_folder: Callable[[], Path]) -> None:
    folder = make_folder()
    source, helper = folder / "app.py", folder / "words.py"
    helper.write_text("WORD = 'one'\n")
    source.write_text(
        "import glowplug, words\napp = glowplug.App('a')\n"
        "@app.function()\ndef say() -> str:\n    return words.WORD\n"
    )
    with serving(folder, source, options=["--reload"]) as server:
        said = lambda: server.post("say").text  # noqa: E731
        until(lambda: said() == '"one"', "the first version")
        helper.write_text("WORD = 'second'\n")
        until(lambda: said() == '"second"', "what it imports was changed")
        source.write_text("this is no Python")
        until(lambda: "SyntaxError" in server.log.read_text(), "the error is shown")
        until(lambda: "what was deployed before goes on" in server.log.read_text(), "it says what that means")
        assert said() == '"second"'
        source.write_text(
            "import glowplug\napp = glowplug.App('a')\n"
            "@app.function()\ndef say() -> str:\n    return 'mended'\n"
        )
        until(lambda: said() == '"mended"', "it is right again")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
