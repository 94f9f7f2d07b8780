"""Requests that make no sense or come at a bad time: the right status, a message that helps, no harm."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.conftest import Door, Server, Visitor, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


@pytest.fixture(autouse=True)
def unharmed(server: Server) -> Iterator[None]:
    """Whatever came in, the server that took it answers the next request."""
    yield
    assert server.process.poll() is None
    assert server.client.invoke("add", {"a": 2}) == 3


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    facts = response.json()["error"]
    return response.status_code, facts["code"], facts["message"]


def test_names_that_are_not_there(server: Server) -> None:
    status, code, message = error_of(server.post("nothing"))
    assert (status, code) == (404, "unknown_function")
    assert "nothing.default" in message
    assert "glowplug ps" in message
    status, code, message = error_of(server.post("add/subtract"))
    assert (status, code) == (404, "unknown_endpoint")
    assert "it has add" in message


@pytest.mark.parametrize(
    "name",
    [
        "../etc/passwd",
        "..%2f..%2fetc",
        "a.b.c",
        "%00",
        "ADD",
        "add%20",
        "caf\u00e9",
        "x" * 10_000,
        "add.",
        ".",
        "%2f",
    ],
    ids=lambda name: name[:12],
)
def test_hostile_names(server: Server, name: str) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0)) as sock:
        head = f"POST /function/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        sock.sendall(head.encode() + b"Connection: close\r\n\r\n{}")
        answer = sock.makefile("rb").read()
    assert answer.split(b" ")[1] in (b"400", b"404"), answer[:300]
    assert len(answer) < 1000
    for path in (f"/system/function/{name}", f"/system/functions/{name}/rollback"):
        response = server.http.request("GET" if path.startswith("/system/function/") else "POST", path)
        assert response.status_code in (400, 404, 405), response.text
    response = server.http.post("/system/functions", json={"service": name, "image": "0" * 64})
    assert response.status_code == 400
    assert "invalid" in response.json()["error"]["code"]


def test_arguments_that_do_not_fit(server: Server) -> None:
    response = server.post("add", {"a": "two"})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "a")
    response = server.post("add", {"b": 2})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "a")
    assert "takes a, b" in response.json()["error"]["message"]
    response = server.post("add", {"a": 1, "c": 2})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "c")
    for content in (b"{", b"\xff\xfe", b"[1,2]", b'{"a": 1e999}', b"[" * 100_000):
        response = server.http.post("/function/add", content=content)
        assert response.status_code == 422, (content[:20], response.text)
    response = server.http.post(
        "/function/add", content=b"\x93NUMPY?", headers={"content-type": "application/x-npy"}
    )
    assert response.status_code == 422


def test_a_body_that_is_too_large(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(65):
            yield b" " * 2**20

    for content in (b" " * (64 * 2**20 + 1), chunks()):
        status, code, message = error_of(server.http.post("/function/add", content=content))
        assert (status, code) == (413, "body_too_large")
        assert "67.1 MB" in message
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0)) as sock:
        sock.sendall(b"POST /function/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in sock.recv(1000)


def test_a_full_queue(server: Server, door: Door, pool: ThreadPoolExecutor) -> None:
    first = pool.submit(server.post, "narrow", {"port": door.port})
    visitor = door.visitor()
    second = pool.submit(server.post, "narrow", {"port": door.port})
    until(lambda: server.client.describe("narrow").queued == 1, "a request waits")
    response = server.post("narrow", {"port": door.port})
    status, code, message = error_of(response)
    assert (status, code) == (429, "queue_full")
    assert "narrow.default" in message
    assert int(response.headers["retry-after"]) >= 1
    visitor.let_go()
    door.visitor().let_go()
    assert first.result().json() == second.result().json() == visitor.pid


def one_that_is_late(
    server: Server, door: Door, pool: ThreadPoolExecutor
) -> tuple[Future[httpx.Response], Visitor]:
    """A request whose deadline is long enough, on this machine and now, to come to the door before it."""
    deadline_s, coming = 1.0, pool.submit(door.visitor)
    while True:
        late = pool.submit(server.post, "wait", {"port": door.port}, x_glowplug_timeout=str(deadline_s))
        until(lambda late=late: coming.done() or late.done(), "it is there or too late")  # type: ignore[misc]
        if coming.done():
            return late, coming.result()
        deadline_s *= 2


def test_deadlines(server: Server, door: Door, pool: ThreadPoolExecutor) -> None:
    """Of a request that waits in the queue, and of those that run, under a lease and not."""
    running = pool.submit(server.post, "wait", {"port": door.port})
    visitor = door.visitor()
    status, code, message = error_of(server.post("wait", {"port": door.port}, x_glowplug_timeout="0.2"))
    assert (status, code) == (504, "deadline_passed")
    assert "wait.default" in message
    visitor.let_go()
    pid = running.result().json()
    for _ in range(3):
        late, visitor = one_that_is_late(server, door, pool)
        assert error_of(late.result())[:2] == (504, "deadline_passed")
        assert visitor.last_words() == "cancelled"
    good = pool.submit(server.post, "wait", {"port": door.port})
    visitor = door.visitor()
    visitor.let_go()
    assert good.result().json() == pid, "the worker was cancelled, not killed"
    response = server.post("add", {"a": 1}, x_glowplug_timeout="soon")
    assert response.status_code == 400
    assert "x-glowplug-timeout" in response.json()["error"]["message"]


@pytest.mark.parametrize("deaf", [False, True])
def test_a_client_that_leaves(server: Server, door: Door, pool: ThreadPoolExecutor, deaf: bool) -> None:
    arguments = {"port": door.port, "deaf": deaf}
    content = httpx.Request("POST", server.url + "/function/wait", json=arguments).read()
    head = (
        f"POST /function/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    )
    port = httpx.URL(server.url).port or 0
    leaver = socket.create_connection(("127.0.0.1", port))
    leaver.sendall(head + content)
    visitor = door.visitor()
    queued = socket.create_connection(("127.0.0.1", port))
    queued.sendall(head + content)
    until(lambda: server.client.describe("wait").queued == 1, "the second request waits")
    queued.close()
    until(lambda: server.client.describe("wait").queued == 0, "it is dropped")
    leaver.close()
    assert visitor.last_words() == ("" if deaf else "cancelled")
    last = pool.submit(server.post, "wait", {"port": door.port})
    second = door.visitor()
    second.let_go()
    assert last.result().status_code == 200
    assert (last.result().json() == visitor.pid) is not deaf
