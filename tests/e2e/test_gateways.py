"""A server with two gateways on one port: both answer as one, and the death of one is its clients' alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import parser

from glowplug.bench.systems.processes import children, descendants, named
from glowplug.server.gateways.process import NAME
from tests.e2e.conftest import APPS, GRACE, WAIT_S, Door, Server, alive, all_gone, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

OWN, BESIDE = 0, 1
"""The server's own gateway, and the process beside it."""
TWO = ("--gateways", "2")


@pytest.fixture(scope="module")
def two(make_folder: Callable[[], Path]) -> Iterator[Server]:
    with serving(make_folder(), options=(*TWO, *GRACE)) as found:
        found.deploy_some(APPS / "gates.py", "add", "wait", "narrow", "chatter", "variable")
        found.deploy_some(APPS / "several.py", "count", "count_slowly", "flood")
        yield found


def gateway_of(answer: httpx.Response) -> int:
    return int(answer.headers["x-glowplug-request"]) % 2


def beside(server: Server) -> int | None:
    """The process beside the server."""
    found = named(NAME, children(server.pid))
    return found[0] if found else None


@contextlib.contextmanager
def client_at(server: Server, gateway: int, **options: Any) -> Iterator[httpx.Client]:
    """A client whose one connection is with that gateway."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    while True:
        with httpx.Client(base_url=server.url, timeout=WAIT_S, limits=limits, **options) as client:
            if gateway_of(client.post("/function/add", json={"a": 1})) == gateway:
                yield client
                return


def ask(function: str, arguments: dict[str, Any]) -> bytes:
    body = json.dumps(arguments)
    head = f"POST /function/{function} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


@contextlib.contextmanager
def socket_at(server: Server, gateway: int) -> Iterator[socket.socket]:
    """A connection with that gateway, to be closed whenever that suits."""
    url = httpx.URL(server.url)
    while True:
        with socket.create_connection((url.host, url.port or 0), WAIT_S) as sock:
            sock.sendall(ask("add", {"a": 1}))
            answer = b""
            while not answer.endswith(b"\r\n\r\n2"):
                answer += sock.recv(10_000)
            head = httpx.Headers(
                [line.split(b": ", 1) for line in answer.split(b"\r\n")[1:] if b": " in line]
            )
            if int(head["x-glowplug-request"]) % 2 == gateway:
                yield sock
                return


def metrics(server: Server) -> dict[tuple[str, ...], float]:
    families = parser.text_string_to_metric_families(server.http.get("/metrics").text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_both_answer_and_are_counted_as_one(two: Server) -> None:
    seen, asked = set(), 0
    while len({request % 2 for request in seen}) < 2 or asked < 20:
        with httpx.Client(base_url=two.url, timeout=WAIT_S) as client:
            for _ in range(3):
                answer = client.post("/function/variable", json={"name": "COLOUR"})
                assert answer.json() == "green"
                seen.add(int(answer.headers["x-glowplug-request"]))
                asked += 1
    assert len(seen) == asked
    counted = ("glowplug_requests_total", "variable.default", "200")
    until(lambda: metrics(two).get(counted) == asked, "each answer is counted once")
    assert metrics(two)["glowplug_gateways",] == 2
    until(lambda: {t.request for t in two.client.traces("variable", 1000)} >= seen, "each has its trace")
    shown = subprocess.run(
        [sys.executable, "-m", "glowplug", "top", "--once", "--json", "--url", two.url],
        capture_output=True, text=True, check=True, timeout=WAIT_S,
    )  # fmt: skip
    assert json.loads(shown.stdout)["gateways"] == 2


@pytest.mark.parametrize("gateway", [OWN, BESIDE])
def test_everything_answers_at_either(two: Server, gateway: int) -> None:
    """On one connection, as it comes: functions, streams, spawned calls, the admin interface."""
    with client_at(two, gateway) as client:
        assert client.get("/healthz").text == "ok"
        items = client.post("/function/count", json={"to": 3}).text.splitlines()
        assert [json.loads(item)["n"] for item in items] == [0, 1, 2]
        assert client.post("/function/count_slowly", json={"to": 2}).text.split() == ["0", "1"]
        assert client.post("/function/add", json={"a": "x"}).status_code == 422
        assert client.post("/function/nobody").status_code == 404
        spawned = client.post(
            "/async-function/add", json={"a": 4}, headers={"idempotency-key": f"key {gateway}"}
        )
        assert spawned.status_code == 202
        again = client.post(
            "/async-function/add", json={"a": 4}, headers={"idempotency-key": f"key {gateway}"}
        )
        assert again.json()["id"] == spawned.json()["id"]
        names = {function["name"] for function in client.get("/system/functions").json()}
        assert {"add", "wait", "count"} <= names
        client.post("/function/chatter", json={"lines": 5})
        until(lambda: "the end" in client.get("/system/logs?name=chatter").text, "its lines")
        assert client.get("/system/functions/nobody").status_code == 404
        assert gateway_of(client.post("/function/add", json={"a": 1})) == gateway


def test_what_lies_where_a_server_is_started_is_none_of_its_code(
    make_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's folder may have files that are called as modules of the standard library are."""
    project = make_folder()
    for name in ("secrets", "platform", "queue", "resource", "uuid", "decimal"):
        (project / f"{name}.py").write_text("raise RuntimeError('this is a script')")
    source = make_folder() / "app.py"
    source.write_text('import glowplug\napp = glowplug.App("n")\n@app.function()\ndef seven(): return 7\n')
    monkeypatch.chdir(project)
    with serving(make_folder(), source, options=TWO) as server:
        until(lambda: server.post("seven").text == "7", "it answers")
        assert beside(server) is not None


def test_what_was_deployed_just_now_answers_at_once(two: Server) -> None:
    """And what is gone does not."""
    source = two.write('import glowplug\napp = glowplug.App("n")\n@app.function()\ndef fresh(): return 7\n')
    upload = two.upload(source)
    with client_at(two, BESIDE) as client:
        for _ in range(3):
            deployed = client.post("/system/functions", json={"service": "fresh", "image": upload})
            assert deployed.status_code == 202
            assert client.post("/function/fresh").json() == 7
            assert client.delete("/system/functions/fresh").status_code == 202
            assert client.post("/function/fresh").status_code == 404


def test_a_client_that_leaves_and_a_deadline_that_passes(
    two: Server, door: Door, pool: ThreadPoolExecutor
) -> None:
    with client_at(two, BESIDE) as client:
        deadline_s, coming = 1.0, pool.submit(door.visitor)
        while True:
            headers = {"x-glowplug-timeout": str(deadline_s)}
            late = pool.submit(client.post, "/function/wait", json={"port": door.port}, headers=headers)
            until(lambda late=late: coming.done() or late.done(), "it is there or too late")  # type: ignore[misc]
            if coming.done():  # its deadline is long enough, on this machine and now
                break
            deadline_s *= 2
        assert late.result().status_code == 504
        assert coming.result().last_words() == "cancelled"
    with socket_at(two, BESIDE) as leaves:
        leaves.sendall(ask("wait", {"port": door.port}))
        visitor = door.visitor()
    assert visitor.last_words() == "cancelled"


def test_clients_that_leave_streams_free_the_worker(two: Server) -> None:
    workers = set()
    for gateway in (OWN, BESIDE, OWN, BESIDE):
        with client_at(two, gateway) as client, client.stream("POST", "/function/flood") as stream:
            data = b""
            for piece in stream.iter_raw():
                data += piece
                if len(data) > 10**6:
                    break
            workers.add(int(data[:10]))
    assert len(workers) == 1, "its generator was stopped each time, and nobody was killed"


class Load:
    """A thread that asks one gateway, again and again, and keeps what was not right."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self.right = 0
        self.wrong: list[Any] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                found = self._client.post("/function/add", json={"a": number}).json()
            except httpx.HTTPError as error:
                found = error
            if found == number + 1:
                self.right += 1
            else:
                self.wrong.append(found)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)


def test_one_is_killed(two: Server, door: Door, pool: ThreadPoolExecutor) -> None:
    """Its connections break and what ran for them is stopped; the other's are answered, as if nothing were;
    no worker dies; another takes its place."""
    victim = until(lambda: beside(two), "there is one beside the server")
    with client_at(two, OWN) as stays, client_at(two, OWN) as steady, client_at(two, BESIDE) as gone:
        broken = pool.submit(gone.post, "/function/wait", json={"port": door.port})
        its_own = door.visitor()
        kept = pool.submit(stays.post, "/function/narrow", json={"port": door.port})
        others = door.visitor()
        load = Load(steady)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            broken.result()
        assert its_own.last_words() == "cancelled"
        others.let_go()
        assert kept.result().json() == others.pid
        replaced = until(lambda: (p := beside(two)) not in (None, victim) and p, "there is another")
        with client_at(two, BESIDE) as again:
            answer = pool.submit(again.post, "/function/wait", json={"port": door.port})
            visitor = door.visitor()
            assert visitor.pid == its_own.pid, "the same worker goes on"
            visitor.let_go()
            assert answer.result().json() == visitor.pid
        until(lambda: load.right > 20, "the other's load goes on")
        load.stop()
        assert load.wrong == []
    assert beside(two) == replaced
    until(lambda: not alive(victim), "it is gone")


def test_one_is_killed_with_requests_in_every_place(
    two: Server, door: Door, pool: ThreadPoolExecutor
) -> None:
    """One runs, and others wait behind it in the queue or its worker's socket, for both gateways: the other's
    are answered in the end, and of the killed one's no second one begins."""
    with client_at(two, OWN) as first, client_at(two, BESIDE) as second, client_at(two, BESIDE) as third:
        running = pool.submit(first.post, "/function/wait", json={"port": door.port})
        visitor = door.visitor()
        waits = pool.submit(second.post, "/function/wait", json={"port": door.port})
        until(lambda: two.client.describe("wait").queued == 1, "a second one waits")
        also = pool.submit(third.post, "/function/wait", json={"port": door.port})
        until(lambda: two.client.describe("wait").queued == 2, "a third one waits")
        os.kill(until(lambda: beside(two), "there is one"), signal.SIGKILL)
        for request in (waits, also):
            with pytest.raises(httpx.TransportError):
                request.result()
        until(lambda: two.client.describe("wait").queued == 0, "nobody waits any more")
        visitor.let_go()
        assert running.result().json() == visitor.pid
        after = pool.submit(first.post, "/function/wait", json={"port": door.port})
        following = door.visitor()
        assert following.pid == visitor.pid
        following.let_go()
        assert after.result().json() == following.pid


def test_again_and_again_under_load(two: Server) -> None:
    with client_at(two, OWN) as client:
        load = Load(client)
        for _ in range(3):
            victim = until(lambda: beside(two), "there is one")
            with client_at(two, BESIDE):
                os.kill(victim, signal.SIGKILL)
            until(lambda v=victim: beside(two) not in (None, v), "there is another")  # type: ignore[misc]
            before = load.right
            until(lambda b=before: load.right > b or load.wrong, "the load goes on")  # type: ignore[misc]
        load.stop()
        assert load.wrong == []
    until(lambda: metrics(two)["glowplug_gateways",] == 2, "both serve")


def test_the_agent_is_killed(two: Server) -> None:
    """Every worker is gone, for both gateways, and comes again for both."""
    old = [two.agent_pid, *descendants(two.agent_pid)]
    os.kill(two.agent_pid, signal.SIGKILL)
    until(lambda: all_gone(old), "nothing of it runs")
    until(lambda: two.http.get("/readyz").status_code == 200, "there is another")
    for gateway in (OWN, BESIDE):
        with client_at(two, gateway) as client:
            assert client.post("/function/add", json={"a": 1}).json() == 2


def test_the_server_is_killed(folder: Path) -> None:
    with serving(folder, options=TWO) as first:
        before = first.tree()
        assert beside(first) in before
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait()
        until(lambda: all_gone(before), "nothing of the old tree runs")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain(folder: Path, door: Door, pool: ThreadPoolExecutor, number: signal.Signals) -> None:
    """What runs at either is answered, what comes is refused at either, the log has all of it."""
    log = folder / "access.jsonl"
    with serving(folder, options=(*TWO, "--access-log", str(log))) as server:
        server.deploy_some(APPS / "gates.py", "add", "wait", "narrow")
        with client_at(server, OWN) as own, client_at(server, BESIDE) as other:
            with client_at(server, BESIDE) as late:
                running = pool.submit(other.post, "/function/wait", json={"port": door.port})
                visitor = door.visitor()
                also = pool.submit(own.post, "/function/narrow", json={"port": door.port})
                second = door.visitor()
                before = server.tree()
                os.kill(server.pid, number)
                refused = until(
                    lambda: (a := late.post("/function/add", json={"a": 1})).is_error and a, "it drains"
                )
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            second.let_go()
            assert also.result(WAIT_S).json() == second.pid
            visitor.let_go()
            assert running.result(WAIT_S).json() == visitor.pid
        assert server.process.wait(WAIT_S) == 0
        until(lambda: all_gone(before), "nothing of its tree runs")
        assert "Traceback" not in server.log.read_text()
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    by_path = {entry["path"]: entry for entry in entries}
    assert by_path["/function/wait"]["request"] % 2 == BESIDE
    assert by_path["/function/narrow"]["request"] % 2 == OWN
    assert "/system/functions" in by_path


def test_the_log_of_both_is_opened_again(folder: Path) -> None:
    log = folder / "access.jsonl"
    with serving(folder, options=(*TWO, "--access-log", str(log))) as server:
        server.deploy_some(APPS / "gates.py", "add")
        with client_at(server, OWN) as own, client_at(server, BESIDE) as other:
            log.rename(folder / "old.jsonl")
            os.kill(server.pid, signal.SIGHUP)

            def both() -> bool:
                for client in (own, other):
                    client.post("/function/add", json={"a": 1})
                found = log.read_text().splitlines() if log.exists() else []
                return {json.loads(line)["request"] % 2 for line in found} == {OWN, BESIDE}

            until(both, "both write to the new file")


def test_a_port_is_one_servers(two: Server, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "glowplug", "serve", "--port", str(httpx.URL(two.url).port), *TWO,
         "--state-dir", str(folder / "state")],
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
