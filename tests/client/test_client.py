"""The client against a real server with a real worker endpoint behind it."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np
import pytest
import uvloop

from glowplug.client import Client
from glowplug.core.bodies import EVENTS, JSON, LINES, NPY
from glowplug.core.errors import (
    InvalidArguments,
    InvalidName,
    NoSpace,
    Unauthorized,
    Unavailable,
    UnknownFunction,
    UnknownRequest,
    UserError,
)
from glowplug.core.status import LogLine
from glowplug.transport.worker_side import Incoming, WorkerEndpoint
from tests.gateway.fakes import ECHO, House, running


def with_client(use: Callable[[Client, House], None], token: str | None = None, **changes: object) -> None:
    async def whole() -> None:
        async with running(token=token, **changes) as house:  # type: ignore[arg-type]
            house.control.lend(house.start_worker(answer), slots=32)

            def call() -> None:
                with Client(house.url, token) as client:
                    use(client, house)

            await asyncio.to_thread(call)

    uvloop.run(whole())


def answer(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
    """Says what came, or echoes an array when one is accepted, or streams as it was told."""
    if b'"stream"' in bytes(incoming.body[:10]):
        told = msgspec.json.decode(incoming.body)
        endpoint.begin(incoming.request, told["stream"])
        for chunk in told["chunks"]:
            endpoint.chunk(incoming.request, chunk.encode())
        if told.get("error"):
            endpoint.error(incoming.request, "no_space", told["error"])
        else:
            endpoint.end(incoming.request)
    elif incoming.endpoint == "other":
        endpoint.error(incoming.request, "invalid_arguments", "argument 'a' is missing", "a")
    elif incoming.accept == NPY:
        endpoint.reply(incoming.request, 200, NPY, bytes(incoming.body), {"compute": 0.0})
    else:
        said = [incoming.endpoint, incoming.content_type, len(incoming.body), incoming.deadline_s > 0]
        endpoint.reply(incoming.request, 200, JSON, msgspec.json.encode(said), {"compute": 0.0})


def test_invoke_sends_arguments_and_decodes_the_answer() -> None:
    def use(client: Client, house: House) -> None:
        assert client.invoke("echo", {"text": "hi"}) == ["main", JSON, 13, True]
        assert client.invoke("echo.default", None, "main", timeout_s=5) == ["main", JSON, 2, True]
        assert client.invoke("echo", b"abc")[1:3] == ["application/octet-stream", 3]
        array = np.arange(200_000, dtype=np.float32).reshape(2, -1)
        assert client.invoke("echo", {"image": array})[1] == f"{NPY}; argument=image"
        np.testing.assert_array_equal(client.invoke("echo", array, accept=NPY), array)
        whole = client.call("echo", {"text": "hi"})
        assert whole.origin == "parked"
        assert set(whole.phases) == {"queue", "compute", "reply"}
        assert client.trace(whole.request).function == ECHO

    with_client(use)


STREAMS: list[tuple[str, list[str], list[object]]] = [
    (LINES, ["1\n[2", "]\n", '"3"\n4\n'], [1, [2], "3", 4]),
    (EVENTS, ["data: 1\n", '\ndata: {"a": 2}\n\n'], [1, {"a": 2}]),
    (LINES, [], []),
    (LINES, ['{"error": {"code": "mine", "message": "not an error"}}\n'],
     [{"error": {"code": "mine", "message": "not an error"}}]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "chunks", "items"), STREAMS)
def test_a_stream_is_its_items(kind: str, chunks: list[str], items: list[object]) -> None:
    def use(client: Client, house: House) -> None:
        with client.stream("echo", {"stream": kind, "chunks": chunks}) as stream:
            assert stream.is_stream
            assert list(stream) == items
            assert stream.request > 0
        if kind == LINES:
            assert client.invoke("echo", {"stream": kind, "chunks": chunks}) == items

    with_client(use)


@pytest.mark.parametrize(("kind", "chunk"), [(LINES, "1\n"), (EVENTS, "data: 1\n\n")])
def test_a_stream_that_breaks_off_raises_its_error_after_its_items(kind: str, chunk: str) -> None:
    def use(client: Client, house: House) -> None:
        told = {"stream": kind, "chunks": [chunk, chunk], "error": "no room"}
        with client.stream("echo", told) as stream:
            items = iter(stream)
            assert [next(items), next(items)] == [1, 1]
            with pytest.raises(NoSpace, match="no room"):
                next(items)
        assert client.invoke("echo", {"text": "hi"})[0] == "main", "the next request has a connection"

    with_client(use)


def test_bytes_and_text_come_in_pieces() -> None:
    def use(client: Client, house: House) -> None:
        with client.stream(
            "echo", {"stream": "text/plain; charset=utf-8", "chunks": ["h\u00e9", "llo"]}
        ) as text:
            assert "".join(text) == "h\u00e9llo"
        with client.stream("echo", {"stream": "application/octet-stream", "chunks": ["ab", "c"]}) as raw:
            assert b"".join(raw) == b"abc"
        with client.stream("echo", {"text": "hi"}) as single:
            assert not single.is_stream
            assert list(single) == [["main", JSON, 13, True]]
        with pytest.raises(UnknownFunction):
            client.stream("nobody")

    with_client(use)


def test_map_keeps_the_order_and_asks_no_more_than_it_may() -> None:
    def use(client: Client, house: House) -> None:
        taken = 0

        def arguments() -> Iterator[dict[str, str]]:
            nonlocal taken
            for number in range(20):
                taken += 1
                yield {"text": "x" * number}

        found = client.map("echo", arguments(), concurrency=4)
        assert next(found)[2] == 11
        assert taken == 4
        assert [length for _, _, length, _ in found] == [11 + n for n in range(1, 20)]
        assert list(client.map("echo", [])) == []
        with pytest.raises(ValueError, match="at least 1"):
            list(client.map("echo", [1], concurrency=0))

    with_client(use)


def test_map_raises_or_returns_errors_in_their_places() -> None:
    def use(client: Client, house: House) -> None:
        found = client.map("echo", [{}, {}], "other", return_exceptions=True)
        assert [type(each) for each in found] == [InvalidArguments, InvalidArguments]
        with pytest.raises(InvalidArguments):
            list(client.map("echo", [{}, {}], "other"))

    with_client(use)


def test_errors_are_rebuilt() -> None:
    def use(client: Client, house: House) -> None:
        with pytest.raises(InvalidArguments, match="'a' is missing") as caught:
            client.invoke("echo", {}, "other")
        assert caught.value.field == "a"
        with pytest.raises(UnknownFunction):
            client.invoke("nobody")
        with pytest.raises(InvalidName):
            client.invoke("../x")
        house.gateway.draining = True
        with pytest.raises(Unavailable) as late:
            client.invoke("echo")
        assert late.value.retry_after_s == 1.0

    with_client(use)


def test_the_admin_interface(tmp_path: Path) -> None:
    def use(client: Client, house: House) -> None:
        archive = tmp_path / "upload.tar"
        archive.write_bytes(bytes(100_000))
        upload = client.upload(archive)
        assert len(upload) == 64
        assert client.deploy("echo", upload, envVars={"A": "1"})["version"] == "v1"
        assert [status.name for status in client.functions()] == ["echo"]
        assert client.describe("echo").namespace == "default"
        client.scale("echo", 2)
        client.rollback("echo")
        client.climb("echo", "parked", cache="warm")
        client.descend("echo", "local")
        client.undeploy("echo")
        assert [asked[0] for asked in house.platform.asked] == [
            "deploy", "scale", "rollback", "climb", "descend", "undeploy"
        ]  # fmt: skip
        house.platform.lines = [
            LogLine(1.5, ECHO, 3, "stderr", "one"),
            LogLine(2.5, ECHO, 3, "stdout", "two"),
        ]
        assert list(client.logs("echo", tail=2)) == house.platform.lines
        other_ends = LogLine(1.5, ECHO, 3, "stdout", "one\u2028two\u2029three\x85four\x1cfive")
        house.platform.lines = [other_ends] * 3
        assert list(client.logs("echo")) == house.platform.lines
        with pytest.raises(UnknownFunction):
            list(client.logs("nobody"))
        assert client.traces("echo") == []
        assert client.info()["version"] == "0"

    with_client(use)


def test_the_token_travels() -> None:
    def use(client: Client, house: House) -> None:
        assert client.invoke("echo")[0] == "main"
        with Client(house.url, "wrong") as other, pytest.raises(Unauthorized):
            other.functions()

    with_client(use, token="s3cret")


def test_a_proxy_does_not_know_the_way_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    def use(client: Client, house: House) -> None:
        for host in ("127.0.0.1", "localhost"):
            with Client(house.url.replace("127.0.0.1", host)) as local:
                assert local.invoke("echo")[0] == "main"
        with Client("http://glowplug.invalid") as remote, pytest.raises(Unavailable):
            remote.functions()

    with_client(use)


def test_threads_that_begin_together_share_the_connections() -> None:
    together = threading.Barrier(8)

    def begin(client: Client) -> object:
        together.wait()
        return client._http()

    with Client("http://127.0.0.1:9") as client, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(begin, [client] * 8))
        assert all(each is client._http() for each in found)


def test_names_that_are_not_ascii() -> None:
    def use(client: Client, house: House) -> None:
        assert client.invoke("echo", {"gr\u00f6\u00dfe": 1})[1] == JSON
        said = client.invoke("echo", {"gr\u00f6\u00dfe": np.zeros(3)})
        assert said[1] == f"{NPY}; argument=gr%C3%B6%C3%9Fe"
        with pytest.raises(UserError, match="'caf\u00e9' cannot be sent in a header"):
            client.spawn("echo", key="caf\u00e9")
        with pytest.raises(UserError, match="this cannot be sent"):
            client.spawn("echo", key="two\nlines")

    with_client(use)


def test_nothing_there_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # so nobody else does, and nobody listens
        monkeypatch.setenv("GLOWPLUG_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with Client() as client, pytest.raises(Unavailable, match="glowplug serve"):
            client.functions()
    with (
        Client("not a url") as client,
        pytest.raises(UserError, match="'not a url' is not the URL of a server"),
    ):
        client.functions()


def test_a_trace_that_is_kept_no_more_has_a_name() -> None:
    def use(client: Client, house: House) -> None:
        with pytest.raises(UnknownRequest, match="request 7 is not among the last"):
            client.trace(7)

    with_client(use)


class Foreign(BaseHTTPRequestHandler):
    """Something else that answers at the URL."""

    protocol_version = "HTTP/1.1"
    status, headers_sent, body = 200, (("content-type", "text/html"),), b"<html>hello</html>"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if "transfer-encoding" in self.headers:
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        self.send_response(self.status)
        for name, value in (*self.headers_sent, ("content-length", str(len(self.body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Moved(Foreign):
    status, headers_sent, body = 301, (("location", "https://models.example/"),), b""


class OtherJson(Foreign):
    body = b'{"hello": ["world"]}'


@contextmanager
def answering_as(kind: type[Foreign]) -> Iterator[Client]:
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with Client(f"http://127.0.0.1:{server.server_port}") as client:
                yield client
        finally:
            server.shutdown()
            thread.join()


ASKING: list[Callable[[Client], object]] = [
    lambda client: client.invoke("echo"),
    lambda client: client.spawn("echo"),
    lambda client: client.functions(),
    lambda client: client.secrets(),
    lambda client: client.upload(io.BytesIO(b"tar")),
    lambda client: list(client.logs("echo")),
    lambda client: client.info(),
]


@pytest.mark.parametrize("kind", [Foreign, Moved, OtherJson])
def test_what_is_no_server_of_ours_is_told_so(kind: type[Foreign]) -> None:
    with answering_as(kind) as client:
        for ask in ASKING if kind is not OtherJson else ASKING[:-1]:
            with pytest.raises(UserError, match="GLOWPLUG_URL") as found:
                ask(client)
            if kind is Moved:
                assert "https://models.example/" in str(found.value)


def test_a_redirect_is_not_taken_for_done() -> None:
    with answering_as(Moved) as client, pytest.raises(UserError, match="GLOWPLUG_URL"):
        client.scale("echo", 2)
