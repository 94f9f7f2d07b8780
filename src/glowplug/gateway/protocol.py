"""HTTP/1.1: uvicorn's protocol, with a short way for functions past ASGI's messages and tasks.

Everything but `/function/...` is uvicorn's and its application's. A function's request is an Exchange, which
stands where uvicorn has its RequestResponseCycle: in `self.cycle`, or, pipelined, in `self.pipeline`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from glowplug.gateway.body_reader import BodyReader
from glowplug.gateway.exchange import Exchange
from glowplug.gateway.front import Front
from glowplug.gateway.guarded import GuardedProtocol
from glowplug.gateway.heads import RepeatedHead, repeated
from glowplug.gateway.target import PREFIX, Target

_PREFIX = PREFIX.encode()
_MOST_WAITING, _MOST_WAITING_BYTES = 16, 64 * 1024
"""While so many requests, or so much of their heads and bodies, wait behind another nothing is read, and
nobody sees that the client leaves."""
Headers = Sequence[tuple[bytes, bytes]]


class FunctionProtocol(GuardedProtocol):
    """One connection. Of keep-alive requests that are alike the head is read once."""

    def __init__(self, front: Front, *arguments: Any, **named: Any) -> None:
        super().__init__(front, *arguments, **named)
        self._last: tuple[bytes, Headers, Target] | None = None
        self._repeat: RepeatedHead | None = None
        """The head that `_last` was read from, when all of it came at once."""
        self._reader: BodyReader | None = None
        self._heads = 0
        """That were complete in what came last."""
        self._brought_body = False
        """What came last."""
        self._answering: Any = None
        """What is being answered while others, `self.cycle` the last of them, wait behind it."""

    def connection_lost(self, exc: Exception | None) -> None:
        for cycle in (self._answering, self.cycle, *[waiting for waiting, _ in self.pipeline]):
            if type(cycle) is Exchange:
                cycle.leave()
            elif cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        is_between = not self.in_head and (before is None or before.response_complete)
        if is_between and self._repeat is not None:
            body, last = self._repeat.body_of(data), self._last
            if body is not None and last is not None and self.front.is_fresh(last[2]):
                self.quiet_since_s = math.inf
                self.cycle = exchange = Exchange(self, True)
                exchange.ask(last[0], last[2], body)
                return
        self._heads, self._brought_body, self._came_bytes = 0, False, len(data)
        super().data_received(data)
        if not (self._heads or self._brought_body):
            self.count_head(data)
        if self.transport.is_closing():
            return
        if self.pipeline and self._enough_waits():
            self.flow.pause_reading()
        exchange = self.cycle
        if type(exchange) is not Exchange:
            self._repeat = None
            return
        if not exchange.is_open and exchange.has_turn:
            exchange.open()
        if is_between and self._heads == 1 and not exchange.refused:
            self._repeat = repeated(data) if exchange.keep_alive else None
            if exchange.is_open and not exchange.whole:
                self._read_body(exchange)

    def _read_body(self, exchange: Exchange) -> None:
        """Reads what is left of a big body right into shared memory, if there is some for it."""
        length = exchange.claim()
        if length is None:
            return
        self._reset_parser()
        if self._reader is None:
            self._reader = BodyReader(self)
        self._reader.read(exchange, length)
        self.transport.set_protocol(self._reader)

    @property
    def repeated_bytes(self) -> int:
        """How long the next head is, if it repeats; 0 when that is not to be expected."""
        return self._repeat.head_bytes if self._repeat is not None else 0

    def expect(self, head: bytes) -> Exchange | None:
        """The exchange of a request whose head is the one before again, with shared memory for its body; None
        when the parser is needed."""
        before, repeat, last = self.cycle, self._repeat, self._last
        if repeat is None or last is None or not (before is None or before.response_complete):
            return None
        length = repeat.length_of(head)
        if length is None or not self.front.is_fresh(last[2]):
            return None
        exchange = Exchange(self, True)
        if not exchange.expect(last[0], last[2], length):
            return None
        self.quiet_since_s = math.inf
        self.cycle = exchange
        return exchange

    # what the parser finds

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # not a trailer
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._heads += 1
        self.end_head()
        url = self.url
        if not url.startswith(_PREFIX):
            path = None if url[:1] == b"/" else self._path_of(url)
            if not path or not path.startswith(_PREFIX):
                self._ask_application()
                return
            url = path
        before = self.cycle
        has_turn = before is None or (before.response_complete and not self.flow.write_paused)
        self.cycle = exchange = Exchange(self, has_turn)
        exchange.begin(url, self.headers, self.parser)
        if not has_turn:
            if not self.pipeline:
                self._answering = before
            exchange.head_bytes = _head_bytes(url, self.headers)
            self.pipeline.appendleft((exchange, self.app))

    def _path_of(self, url: bytes) -> bytes:
        """Of a URL that names its host; one that has no path gets one."""
        parsed = httptools.parse_url(url)
        if not parsed.path:
            self.url = b"/?" + parsed.query if parsed.query else b"/"
        return parsed.path or b"/"

    def _ask_application(self) -> None:
        url, headers = self.url, self.headers
        HttpToolsProtocol.on_message_begin(self)
        self.url = url
        for name, value in headers:
            HttpToolsProtocol.on_header(self, name, value)
        before = self.cycle
        waits = before is not None and not before.response_complete
        if waits and not self.pipeline:
            self._answering = before
        HttpToolsProtocol.on_headers_complete(self)
        if waits:
            self.cycle.head_bytes = _head_bytes(url, headers)
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        self._brought_body, self._head_bytes = True, 0
        if type(self.cycle) is Exchange:
            self.cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if type(self.cycle) is Exchange:
            self.cycle.complete()
        else:
            super().on_message_complete()

    # what the exchanges and uvicorn's cycles do

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = None if cycle is self.cycle else cycle
        if type(cycle) is Exchange:
            cycle.take_turn()
        else:
            super()._start_asgi_task(cycle, app)

    def read_target(self, url: bytes, headers: Headers) -> Target:
        """Raises as Front.read."""
        last = self._last
        if last is not None and last[1] == headers and last[0] == url and self.front.is_fresh(last[2]):
            return last[2]
        self._last = self._repeat = None
        target = self.front.read(url, headers, self.server)
        self._last = url, headers, target
        return target

    def on_response_complete(self) -> None:
        """An answer was written. The sweep, not a timer of its own, closes a connection that then idles."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self.quiet_since_s = self.loop.time()  # it closes when the client has read what is left
        elif self.flow.write_paused:
            # The next answer would wait in memory beside this one.
            self.flow.pause_reading()
            self.quiet_since_s = self.loop.time()
        else:
            self._go_on()

    def _go_on(self) -> None:
        """To what was asked next."""
        following = self.pipeline.pop() if self.pipeline else None
        if following is None and (self.flow.read_paused or not self.in_head):
            self.quiet_since_s = self.loop.time()
        if not self._enough_waits():
            self.flow.resume_reading()
        if following is not None:
            self._start_asgi_task(*following)

    def _enough_waits(self) -> bool:
        """What is there of requests whose turn has not come is counted by nothing else."""
        if len(self.pipeline) >= _MOST_WAITING:
            return True
        held = 0
        for cycle, _ in self.pipeline:
            held += cycle.head_bytes + (cycle.length if type(cycle) is Exchange else len(cycle.body))
        return held >= _MOST_WAITING_BYTES

    def resume_writing(self) -> None:
        super().resume_writing()
        cycle = self.cycle if self._answering is None else self._answering
        if cycle is None or self.transport.is_closing():
            return
        if cycle.response_complete:
            self._go_on()
        elif type(cycle) is Exchange:
            cycle.resume()


def _head_bytes(url: bytes, headers: Headers) -> int:
    return len(url) + sum(len(name) + len(value) for name, value in headers)
