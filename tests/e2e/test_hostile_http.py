"""The real server among clients that hold it up: it answers the others, and nothing is left of them."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import APPS, Server, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]
IDLE = 10_000
HEAD = b"POST /function/add HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def held_up(make_folder: Callable[[], Path]) -> Iterator[Server]:
    with serving(make_folder()) as found:
        found.deploy_some(APPS / "gates.py", "add")
        found.post("add", {"a": 1})
        yield found


@pytest.fixture
def unharmed(held_up: Server) -> Iterator[Server]:
    """Afterwards it has as many connections, tasks and open files as before."""
    before = open_files(held_up)
    tasks = gauge(held_up, "tasks")
    yield held_up
    assert held_up.process.poll() is None
    assert held_up.client.invoke("add", {"a": 2}) == 3
    until(lambda: gauge(held_up, "connections") <= 2, "every connection is closed")
    until(lambda: gauge(held_up, "tasks") <= tasks, "every task ended")
    until(lambda: open_files(held_up) <= before + 2, "every file is closed")
    assert gauge(held_up, "active_requests") == 0


def open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def gauge(server: Server, name: str) -> float:
    text = server.http.get("/metrics").text
    return next(
        float(line.split()[1]) for line in text.splitlines() if line.startswith(f"glowplug_gateway_{name} ")
    )


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=60)


@contextlib.contextmanager
def many_files(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} open files; this host allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_idle_connections(unharmed: Server) -> None:
    server = unharmed
    with many_files(IDLE * 4 // 3 + 1000), contextlib.ExitStack() as held:
        connected = [held.enter_context(connect(server)) for _ in range(IDLE)]
        until(lambda: gauge(server, "connections") >= IDLE, "all are connected")
        for number in range(1, IDLE, 2):
            # Only now: a server does not wait long for the rest of a head.
            connected[number].sendall(HEAD[: number % len(HEAD)])
        for number in range(20):
            assert server.client.invoke("add", {"a": number}) == number + 1
        with connect(server) as fresh:
            fresh.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert fresh.recv(100).startswith(b"HTTP/1.1 200")


def test_bodies_that_lie_and_heads_that_never_end(unharmed: Server) -> None:
    server = unharmed
    with contextlib.ExitStack() as held:
        for rest in (
            b"Content-Length: 1000\r\n\r\n{",
            b"Transfer-Encoding: chunked\r\n\r\nfff\r\n{",
            b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n",
            b"Content-Length: 8\r\n\r\n" + b'{"a": 1}' + b"garbage" * 100,
            b"X: " + b"y" * 100_000,
            b"".join(b"X-%d: y\r\n" % number for number in range(5000)),
        ):
            for _ in range(30):
                sock = held.enter_context(connect(server))
                with contextlib.suppress(OSError):
                    sock.sendall(HEAD + rest)
        assert server.client.invoke("add", {"a": 41}) == 42


def test_clients_that_vanish(unharmed: Server) -> None:
    """Without a word, at every place of a request, and while they are answered."""
    whole = HEAD + b'Content-Length: 8\r\n\r\n{"a": 1}'
    for length in range(0, len(whole) + 1, 3):
        sock = connect(unharmed)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        sock.sendall(whole[:length])
        sock.close()
    for _ in range(50):
        with connect(unharmed) as sock:
            sock.sendall(whole * 5)


def test_an_answer_in_parts_that_nobody_reads(unharmed: Server) -> None:
    """Metrics and the description are long, and come in parts."""
    with contextlib.ExitStack() as held:
        for path in (b"/metrics", b"/openapi.json", b"/docs") * 20:
            sock = held.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
            sock.connect(("127.0.0.1", httpx.URL(unharmed.url).port or 0))
            sock.sendall((b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") * 10)
        assert unharmed.client.invoke("add", {"a": 1}) == 2
