"""Spawned calls with a real server, which is killed whenever it suits worst."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.client import Client
from glowplug.core.calls import CallRecord
from glowplug.core.errors import CallCancelled, CallLost, CallNotRetriable, FunctionFailed, UnknownCall
from tests.e2e.conftest import APPS, WAIT_S, Server, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


class Marks:
    """Counts what runs, by its text; lets it go on unless told to hold it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port: int = self._listener.getsockname()[1]
        self.seen: Counter[str] = Counter()
        self.open = threading.Event()
        self.open.set()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(sock,), daemon=True).start()

    def _attend(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as lines:
            text = lines.readline().decode().strip()
            if text:
                self.seen[text] += 1
            self.open.wait(WAIT_S)
            try:
                sock.sendall(b"\n")
            except OSError:
                return

    def close(self) -> None:
        self.open.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def marks() -> Iterator[Marks]:
    found = Marks()
    yield found
    found.close()


@pytest.fixture(scope="module")
def spawning(server: Server) -> Server:
    server.deploy(APPS / "spawned.py")
    return server


def test_a_call_from_python(spawning: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOWPLUG_URL", spawning.url)
    monkeypatch.syspath_prepend(str(APPS))
    import spawned

    call = spawned.Mixed.safe.spawn("hello")
    assert call.get(timeout=WAIT_S) == "hello"
    status = call.status()
    assert (status.state, status.endpoint, status.idempotent) == ("done", "safe", True)
    assert not call.cancel()
    failing = spawned.Mixed.unsafe.spawn(text="way")
    with pytest.raises(FunctionFailed, match="no way"):
        failing.get(timeout=WAIT_S)
    assert not failing.status().idempotent
    assert spawning.client.spawned(call.id).get() == "hello"


def test_a_call_that_is_cancelled_stops_its_function(spawning: Server, marks: Marks) -> None:
    marks.open.clear()
    call = spawning.client.spawn("once", {"port": marks.port, "text": "stop"})
    until(lambda: marks.seen["stop"], "it runs")
    with pytest.raises(TimeoutError, match="goes on"):
        call.get(timeout=0.05)
    assert call.cancel()
    with pytest.raises(CallCancelled):
        call.get(timeout=WAIT_S)
    until(lambda: spawning.client.describe("once").in_flight == 0, "its worker is free")


def command(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "glowplug", *arguments, "--url", server.url],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command(spawning: Server) -> None:
    call = command(spawning, "invoke", "mixed", "text=hello", "--spawn", "--key", "once").strip()
    assert command(spawning, "invoke", "mixed", "text=hello", "--spawn", "--key", "once").strip() == call
    assert command(spawning, "calls", "get", call).strip() == "hello"
    failed = json.loads(
        command(spawning, "invoke", "mixed", "text=x", "--endpoint", "unsafe", "--spawn", "--json")
    )["id"]
    until(lambda: spawning.client.call_status(failed).state == "failed", "it failed")
    assert call in command(spawning, "calls", "mixed")
    listed = json.loads(command(spawning, "calls", "--state", "dead-letter", "--json"))
    assert failed in [each["id"] for each in listed]
    assert "no x" in command(spawning, "calls", "show", failed)
    (retried,) = json.loads(command(spawning, "calls", "retry", failed, "--json"))
    assert retried["id"] == failed
    until(lambda: spawning.client.call_status(failed).state == "failed", "it failed again")
    assert failed in command(spawning, "calls", "retry", "--all", "--function", "mixed")
    assert call in command(spawning, "calls", "cancel", call)


def test_the_example(spawning: Server, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "jobs.py"
    spawning.deploy(example)
    (tmp_path / "a.txt").write_text("b a b")
    done = subprocess.run(
        [sys.executable, str(example), "a.txt", "a.txt"],
        cwd=tmp_path, env={**os.environ, "GLOWPLUG_URL": spawning.url},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["a.txt {'b': 2, 'a': 1}"], done.stderr


def ended(client: Client, call: str) -> CallRecord:
    return until(lambda: (c := client.call_status(call)).ended_s is not None and c, f"call {call} ends")  # type: ignore[no-any-return]


def test_a_server_that_is_killed_forgets_no_call_and_runs_none_too_often(folder: Path, marks: Marks) -> None:
    """Killed while calls are taken and while they run, three times; each call that was acknowledged ends."""
    accepted: dict[str, tuple[str, str]] = {}
    numbers = itertools.count()
    for held in (False, True, False):
        with serving(folder) as server:
            server.deploy_some(APPS / "spawned.py", "again", "once")
            marks.open.set()
            stop = threading.Event()

            def spawn_on(function: str, server: Server = server, stop: threading.Event = stop) -> None:
                with Client(server.url) as client:
                    while not stop.is_set():
                        text = f"{function}-{next(numbers)}"
                        try:
                            call = client.spawn(function, {"port": marks.port, "text": text})
                        except Exception:
                            return
                        accepted[call.id] = function, text

            spawners = [threading.Thread(target=spawn_on, args=(name,)) for name in ("again", "once") * 2]
            for spawner in spawners:
                spawner.start()
            aim = len(accepted) + 60
            until(lambda aim=aim: len(accepted) >= aim, "calls are taken")
            if held:
                marks.open.clear()
                until(lambda server=server: server.client.calls("once", "started"), "some run")
            os.kill(server.pid, signal.SIGKILL)
            stop.set()
            server.process.wait()
            for spawner in spawners:
                spawner.join(WAIT_S)
    marks.open.set()
    with serving(folder) as server:
        lost = 0
        for call, (function, text) in accepted.items():
            found = ended(server.client, call)
            if function == "again":
                assert found.state == "done", found
                assert server.client.call_result(call).value() == text.upper()  # type: ignore[union-attr]
                assert 1 <= marks.seen[text] <= found.attempts
            else:
                assert found.state in ("done", "lost"), found
                assert marks.seen[text] <= 1
                assert found.state == "lost" or marks.seen[text] == 1
                if found.state == "lost":
                    lost += 1
                    with pytest.raises(CallLost):
                        server.client.spawned(call).get()
                    with pytest.raises(CallNotRetriable):
                        server.client.retry_call(call)
        assert lost >= 1, "one was held when the server was killed"


def test_results_are_kept_for_a_while(folder: Path) -> None:
    with serving(folder, options=["--results-kept", "50ms", "--no-callbacks"]) as server:
        server.deploy_some(APPS / "spawned.py", "mixed")
        call = server.client.spawn("mixed", {"text": "brief"})

        def is_gone() -> bool:
            try:
                call.status()
            except UnknownCall:
                return True
            return False

        until(is_gone, "its result is forgotten")
        refused = server.http.post("/async-function/mixed", headers={"x-callback-url": "http://localhost/"})
        assert (refused.status_code, "--no-callbacks" in refused.text) == (400, True)


def test_a_drain_ends_what_runs_and_keeps_what_waits(folder: Path, marks: Marks) -> None:
    with serving(folder) as server:
        server.deploy_some(APPS / "spawned.py", "once")
        marks.open.clear()
        calls = [
            server.client.spawn("once", {"port": marks.port, "text": f"drain{number}"}).id
            for number in range(12)
        ]
        until(lambda: marks.seen, "one runs")
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: server.http.get("/readyz").status_code == 503, "it drains")
        marks.open.set()
        assert server.process.wait(WAIT_S) == 0
        assert "Traceback" not in server.log.read_text()
    with serving(folder) as server:
        assert [ended(server.client, call).state for call in calls] == ["done"] * 12
        assert set(marks.seen.values()) == {1}
