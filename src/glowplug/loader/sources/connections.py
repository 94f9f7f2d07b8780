"""Kept-alive connections to HTTP servers, and one request and its answer on any of them."""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from functools import partial
from types import TracebackType

from glowplug.loader.forks import renew_in_children
from glowplug.loader.sources.limit import Limit
from glowplug.loader.sources.urls import Location

_Connection = http.client.HTTPConnection


class Answer:
    """A response whose body is yet to be read. As a context manager it ends the connection, or keeps it.

    `length` is what the server says that the body has, None where it does not say.
    """

    def __init__(
        self,
        connections: Connections,
        location: Location,
        used: _Connection,
        response: http.client.HTTPResponse,
    ) -> None:
        self.status = response.status
        self.length = response.length
        self.location = location
        self._connections = connections
        self._used = used
        self._response = response
        self._whole = False

    def header(self, name: str) -> str | None:
        return self._response.getheader(name)

    def read_some(self, view: memoryview, limit: Limit) -> int:
        """The next bytes of the body, as many as are there; 0 at its end. Raises OSError, HTTPException."""
        limit.next_s()
        if self._response.chunked:
            data = self._response.read1(view.nbytes)
            view[: len(data)] = data
            return len(data)
        # `response.readinto` would wait until all is there, and not tell how much came before an error.
        return int(self._response.fp.readinto1(view))

    def ended(self) -> None:
        """The body was read to its end: the connection may be used again."""
        self._whole = True

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        keep = self._whole and not self._response.will_close and _silent(self._used)
        self._response.close()
        if keep:
            self._connections.keep(self.location, self._used)
        else:
            self._used.close()


class _Received(io.RawIOBase):
    """What a socket receives; each wait has its part of a limit, in an answer's head too."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, limit: Limit) -> None:
        self._raw = raw
        self._sock = sock
        self._limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        self._sock.settimeout(self._limit.next_s())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _response(limit: Limit, sock: socket.socket, method: str) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(sock, method=method)
    response.fp = io.BufferedReader(_Received(response.fp.detach(), sock, limit))
    return response


class Connections:
    """As many as there are requests at once, kept for the next ones. Safe to use from several threads, and in
    forked children, which make connections of their own."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._idle: dict[tuple[bool, str, int], list[_Connection]] = {}
        self._closed = False
        self._lock = threading.Lock()
        renew_in_children(self)

    def renew(self) -> None:
        # On the parent's lines its answers would be mixed with ours. Closed here they stay open there.
        self._lock = threading.Lock()
        idle, self._idle = self._idle, {}
        for connection in (one for some in idle.values() for one in some):
            with contextlib.suppress(OSError):
                connection.close()

    def get(self, location: Location, headers: Mapping[str, str], limit: Limit) -> Answer:
        """Raises OSError, HTTPException."""
        while True:
            idle = self._take(location)
            used = idle or self._fresh(location)
            try:
                used.timeout = limit.next_s()
                if used.sock is None:
                    used.connect()
                used.sock.settimeout(limit.next_s())
                used.response_class = partial(_response, limit)  # type: ignore[assignment]
                used.request("GET", location.target, headers=dict(headers))
                return Answer(self, location, used, used.getresponse())
            except (ConnectionError, http.client.BadStatusLine):
                used.close()
                # A server may end an idle connection at any time; only what fails afresh says something.
                if idle is None:
                    raise
            except BaseException:
                used.close()
                raise

    def keep(self, location: Location, connection: _Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.setdefault(location.origin, []).append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle = [connection for some in self._idle.values() for connection in some]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _take(self, location: Location) -> _Connection | None:
        with self._lock:
            idle = self._idle.get(location.origin)
            return idle.pop() if idle else None

    def _fresh(self, location: Location) -> _Connection:
        if not location.secure:
            return http.client.HTTPConnection(location.host, location.port)
        if self._context is None:
            self._context = ssl.create_default_context()
        return http.client.HTTPSConnection(location.host, location.port, context=self._context)


def _silent(connection: _Connection) -> bool:
    """Whether nothing waits on the line: neither its end nor bytes that nobody asked for."""
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return not poll.poll(0)
