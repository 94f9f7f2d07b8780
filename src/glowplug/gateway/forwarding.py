"""What another gateway than the server's own does with a request that is for no function it knows. It
forwards the request unchanged to the server, over a connection of its own, and the answer back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from urllib.parse import unquote

import httptools

from glowplug.core.errors import GlowplugError, Unauthorized, Unavailable
from glowplug.gateway.access import Access
from glowplug.gateway.answers import Receive, Scope, Send, send_error
from glowplug.gateway.protocol import FunctionProtocol
from glowplug.gateway.target import PREFIX, parse_target

_READ_BYTES = 64 * 1024
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_OURS = _HOP_BY_HOP | {b"expect", b"x-forwarded-for", b"x-forwarded-proto"}
_PREFIX = PREFIX.encode()
Headers = list[tuple[bytes, bytes]]


class ForwardingProtocol(FunctionProtocol):
    """A function or endpoint that is unknown here may be known to the server, if it was deployed just now.
    Errors about a target are left to the server."""

    def on_headers_complete(self) -> None:
        if self.url.startswith(_PREFIX) and not self._is_known(self.url):
            self._heads += 1
            self.end_head()
            self._ask_application()
        else:
            super().on_headers_complete()

    def _is_known(self, url: bytes) -> bool:
        last, known = self._last, self.front.gateway.known
        if last is not None and last[0] == url and self.front.is_fresh(last[2]):
            return True
        try:
            parse_target(unquote(url.partition(b"?")[0].decode("latin-1")), known)
        except GlowplugError:
            return False
        return True


class Forwarding:
    """The ASGI application. `server` is where the server listens for this alone. Who may ask is decided
    here: the server takes what comes from here for its own."""

    def __init__(self, server: tuple[str, int], access: Access) -> None:
        self._server = server
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._access.check(scope["path"], scope["headers"], scope["server"])
            reader, writer = await asyncio.open_connection(*self._server)
        except Unauthorized as error:
            await send_error(send, error)
            return
        except OSError as error:
            await send_error(send, Unavailable(f"the server cannot be reached: {error.strerror}", 1.0))
            return
        answer = _Answer(send, has_body=scope["method"] != "HEAD")
        asking = asyncio.create_task(_ask(scope, receive, writer))
        answering = asyncio.create_task(answer.pass_on(reader))
        try:
            await asyncio.wait((asking, answering), return_when=asyncio.FIRST_COMPLETED)
            if answering.done() or not asking.result():
                await answering
        finally:
            asking.cancel()
            answering.cancel()
            writer.transport.abort()
            await asyncio.gather(asking, answering, return_exceptions=True)
        if not answering.cancelled() and not answer.started:
            await send_error(send, Unavailable("the server broke off", 1.0))


async def _ask(scope: Scope, receive: Receive, writer: asyncio.StreamWriter) -> bool:
    """Sends the request, and waits until the client leaves. False when the server takes no more of it: its
    answer says why."""
    headers, in_chunks = _request_headers(scope)
    path: bytes = scope["raw_path"]
    if scope["query_string"]:
        path += b"?" + scope["query_string"]
    lines = [b"%s %s HTTP/1.1" % (scope["method"].encode(), path)]
    lines += [b"%s: %s" % header for header in headers]
    try:
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        while (message := await receive())["type"] == "http.request":
            body = message.get("body", b"")
            if body:
                writer.write(b"%x\r\n%s\r\n" % (len(body), body) if in_chunks else body)
            if in_chunks and not message.get("more_body", False):
                writer.write(b"0\r\n\r\n")
                in_chunks = False
            await writer.drain()
    except OSError:
        return False
    return True


def _request_headers(scope: Scope) -> tuple[Headers, bool]:
    """What goes on, and whether the body does so in chunks."""
    given: Iterable[tuple[bytes, bytes]] = scope["headers"]
    in_chunks = any(name == b"transfer-encoding" for name, _ in given)
    headers = [
        (name, value)
        for name, value in given
        if name not in _OURS and not (in_chunks and name == b"content-length")
    ]
    if in_chunks:
        headers.append((b"transfer-encoding", b"chunked"))
    if scope["client"]:
        headers.append((b"x-forwarded-for", scope["client"][0].encode()))
    return [*headers, (b"connection", b"close")], in_chunks


class _Answer:
    """The server's answer on its way to the client, in pieces as they come."""

    def __init__(self, send: Send, has_body: bool) -> None:
        self._send = send
        self._has_body = has_body
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._pieces: list[bytes] = []
        self._is_ready = self._is_whole = False
        self.started = False
        """The client has been told something."""

    async def pass_on(self, reader: asyncio.StreamReader) -> None:
        """Returns when all of it has gone on, or the server broke off."""
        with contextlib.suppress(OSError, httptools.HttpParserError):
            while not self._is_whole and (data := await reader.read(_READ_BYTES)):
                self._parser.feed_data(data)
                await self._tell()

    async def _tell(self) -> None:
        if self._is_ready and not self.started:
            self.started = True
            status = self._parser.get_status_code()
            await self._send({"type": "http.response.start", "status": status, "headers": self._headers})
        if self._pieces or self._is_whole:
            body, self._pieces = b"".join(self._pieces), []
            more = not self._is_whole
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    # what the parser finds

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in _HOP_BY_HOP:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._is_ready = True
        self._is_whole = not self._has_body

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._is_whole = True
