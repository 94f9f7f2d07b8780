"""uvicorn's HTTP/1.1 protocol, with bounds on what a client may do: how large a head, how long in silence,
how many connections, how many requests ahead."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import struct
import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from glowplug.core.errors import GlowplugError, HeadTooLarge, Overloaded, UserError
from glowplug.core.units import show_bytes
from glowplug.gateway.answers import error_body, error_lines, head
from glowplug.gateway.front import Front

log = logging.getLogger(__name__)
MAX_HEAD_BYTES = 64 * 1024
"""Of a head that does not come at once."""
MAX_HEADERS = 200
_BODY_HEADERS = (b"content-length", b"transfer-encoding")
LEAST_READ_BYTES = 16 * 1024
"""So much of an answer must be read in the time that a connection may idle."""
_BYTES_ACKED = 120
"""Where `struct tcp_info` has tcpi_bytes_acked, since Linux 4.1."""
MAX_AHEAD = 100
"""Requests that a client may send before the first of them is answered."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Implements front.Swept: the sweep ends what stands still."""

    cycle: Any
    pipeline: Any

    def __init__(self, front: Front, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.front = front
        self.quiet_since_s = math.inf
        self.in_head = False
        self._head_bytes = 0
        self._came_bytes = 0
        """What is read now: a head may be all of it."""
        self._read_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.quiet_since_s = self.loop.time()
        if not self.front.watch(self):
            self._say(Overloaded("this server has as many connections as it can hold", 1.0))

    def connection_lost(self, exc: Exception | None) -> None:
        self.front.forget(self)
        super().connection_lost(exc)

    def _reset_parser(self) -> None:
        """Forgets the request that is being read. As uvicorn sets it up."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.in_head = True
        self._head_bytes = 0
        self.quiet_since_s = self.loop.time()

    def count_head(self, data: bytes) -> None:
        """Called with all data that bring neither the end of a head nor any of a body: trailers count, too,
        and what surrounds chunks."""
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            most = show_bytes(MAX_HEAD_BYTES)
            self._turn_away(HeadTooLarge(f"a request's head may have {most}, and so may its trailer"))

    def end_head(self) -> None:
        """Called when a head is complete. Raises UserError, Overloaded: nothing more is read then."""
        if len(self.headers) > MAX_HEADERS:
            raise HeadTooLarge(f"a request may have {MAX_HEADERS} headers")
        if self._came_bytes > MAX_HEAD_BYTES and self._long_head():
            raise HeadTooLarge(f"a request's head may have {show_bytes(MAX_HEAD_BYTES)}")
        if self.parser.should_upgrade() and any(name in _BODY_HEADERS for name, _ in self.headers):
            # The parser would leave the body out.
            raise UserError("this server speaks HTTP/1.1 only: leave the Upgrade header out")
        if len(self.pipeline) >= MAX_AHEAD:
            raise Overloaded(f"{MAX_AHEAD} requests of this connection wait for their answers", 1.0)
        self.in_head = False
        if not self.flow.write_paused:
            self.quiet_since_s = math.inf

    def _long_head(self) -> bool:
        named_bytes = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.url) + named_bytes > MAX_HEAD_BYTES

    def send_400_response(self, msg: str) -> None:
        """uvicorn's, called where the parser failed, or something that the parser called."""
        failed = sys.exception()
        cause = failed.__context__ if isinstance(failed, httptools.HttpParserCallbackError) else failed
        if isinstance(cause, GlowplugError):
            self._turn_away(cause)
        elif cause is None or isinstance(cause, (httptools.HttpParserError, UnicodeError)):
            self._turn_away(UserError(f"this is no request of HTTP/1.1: {cause or msg}"))
        else:
            log.error("a request could not be read", exc_info=cause)
            self._break_off(GlowplugError("the server made a mistake; its log says which"))

    def _turn_away(self, error: GlowplugError) -> None:
        """Reads no more. Earlier requests are answered before the connection closes. The refusal is sent
        only if the client cannot take it for the answer to another request."""
        last = self.cycle
        if last is None or last.response_complete:
            self._say(error)
        elif not is_whole(last):
            self._break_off(error)
        else:
            last.keep_alive = False
            self.flow.pause_reading()

    def _break_off(self, error: GlowplugError) -> None:
        """The request that was being read is not answered any more."""
        if self.pipeline:
            self.transport.abort()
        else:
            self._say(error)

    def _say(self, error: GlowplugError) -> None:
        body = error_body(error)
        lines = f"{error_lines(error)}content-length: {len(body)}\r\n"
        self.transport.write(head(error.status, lines, keep_alive=False) + body)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """The parser reads nothing after a request for another protocol; it is answered as if it had asked
        for none, and the connection closes."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def pause_writing(self) -> None:
        super().pause_writing()
        self.quiet_since_s = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle is not None and not self.cycle.response_complete:
            self.quiet_since_s = self.loop.time() if self.in_head else math.inf

    def give_up(self) -> None:
        """The client was silent for too long. One that reads, if slowly, goes on, and so does one that waits
        for an answer while it asks for another."""
        cycle = self.cycle
        is_answered = cycle is not None and not cycle.response_complete and not self.transport.is_closing()
        if is_answered and not self.flow.write_paused:
            self.quiet_since_s = self.loop.time()
            return
        if not self.transport.get_write_buffer_size():
            self.transport.close()
            return
        read_bytes = acknowledged_bytes(self.transport)
        if read_bytes - self._read_bytes < LEAST_READ_BYTES:
            self.transport.abort()
        self._read_bytes, self.quiet_since_s = read_bytes, self.loop.time()


def acknowledged_bytes(transport: asyncio.Transport) -> int:
    """How much of all that was sent the client's kernel has taken; a transport tells only what is whole."""
    facts = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    return int(struct.unpack_from("=Q", facts, _BYTES_ACKED)[0])


def is_whole(cycle: Any) -> bool:
    """Whether all of a request has come: an Exchange says so, uvicorn's cycle the opposite."""
    found: bool = cycle.whole if hasattr(cycle, "whole") else not cycle.more_body
    return found
