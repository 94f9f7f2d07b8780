"""A real web server with ranges and conditions, which can be asked to misbehave."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")

Misdeed = Callable[["Request", int, int], None]
"""Answers a request for the bytes from `start` until `end` (exclusive) in its own way."""


class FileServer(ThreadingHTTPServer):
    """Serves `content` at every path. Each misdeed answers one request, in the order of `misdeeds`."""

    daemon_threads = False

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.content = content
        self.headers: dict[str, str] = {"ETag": '"one"', "Last-Modified": "Mon, 23 Nov 2026 04:00:00 GMT"}
        self.misdeeds: deque[Misdeed] = deque()
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.failures: list[BaseException] = []
        self.released = threading.Event()
        self.connections: set[socket.socket] = set()
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/net.pack"

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, (ConnectionError, ssl.SSLError)):
            self.failures.append(error)

    def hang_up(self) -> None:
        """Ends every connection, as a server does with idle ones."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Request(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)
        self.server.accepted += 1

    def finish(self) -> None:
        super().finish()
        self.server.connections.discard(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers.items())))
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        size = len(self.server.content)
        start, end = (int(asked[1]), min(int(asked[2]) + 1, size)) if asked else (0, size)
        if self.server.misdeeds:
            self.server.misdeeds.popleft()(self, start, end)
        else:
            self.behave(start, end)

    def do_HEAD(self) -> None:
        self.send_response_only(200)
        for name, value in ({"Content-Length": str(len(self.server.content))} | self.server.headers).items():
            self.send_header(name, value)
        self.end_headers()

    def behave(self, start: int, end: int) -> None:
        told = self.server.headers
        if self.headers.get("If-Match", told.get("ETag")) != told.get("ETag"):
            return self.status(412)
        since = self.headers.get("If-Unmodified-Since")
        if since is not None and since != told.get("Last-Modified"):
            return self.status(412)
        if start >= len(self.server.content):
            return self.answer(416, b"", {"Content-Range": f"bytes */{len(self.server.content)}"})
        return self.part(start, end)

    def part(self, start: int, end: int, body: bytes | None = None, **headers: str) -> None:
        """A 206, right but for what is given: `Content_Range` stands for that header."""
        body = self.server.content[start:end] if body is None else body
        told = {"Content-Range": f"bytes {start}-{end - 1}/{len(self.server.content)}"}
        self.answer(206, body, told | {name.replace("_", "-"): value for name, value in headers.items()})

    def status(self, status: int, **headers: str) -> None:
        self.answer(status, b"no", {name.replace("_", "-"): value for name, value in headers.items()})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(body))} | self.server.headers | headers).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        """Ends the connection so that the other side sees a reset, not an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.connections.discard(self.connection)
        os.close(self.connection.detach())
        self.close_connection = True


@contextlib.contextmanager
def serving(content: bytes, context: ssl.SSLContext | None = None) -> Iterator[FileServer]:
    server = FileServer(content)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.hang_up()
        server.server_close()
    assert server.failures == []
