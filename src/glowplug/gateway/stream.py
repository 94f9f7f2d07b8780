"""An answer that comes in chunks, on its way to one client, at the client's pace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from glowplug.core.errors import GlowplugError
from glowplug.gateway.answers import error_body, head
from glowplug.gateway.flight import Flight
from glowplug.gateway.phases import server_timing
from glowplug.transport.connection import Reply

if TYPE_CHECKING:
    from glowplug.gateway.protocol import FunctionProtocol

_CREDIT_BYTES = 32 * 1024
"""Credit for a stream is given in portions of about this, well below its window."""
_SSE = "text/event-stream"
_NDJSON = "application/x-ndjson"


class StreamedAnswer:
    """Writes the head at once. `credit(flight, bytes)` lets the worker go on, when the client has read. A
    client of HTTP/1.0 (`speaks_chunks` False) gets the bytes as they are, and the end with its connection."""

    def __init__(
        self,
        protocol: FunctionProtocol,
        flight: Flight,
        reply: Reply,
        credit: Callable[[Flight, int], None],
        *,
        keep_alive: bool,
        speaks_chunks: bool,
    ) -> None:
        self.sent_bytes = 0
        self._protocol = protocol
        self._flight = flight
        self._content_type = reply.content_type
        self._give_credit = credit
        self._speaks_chunks = speaks_chunks
        self._owed_bytes = 0
        phases = {"queue": flight.queue_s, **reply.phases}
        lines = (
            f"server-timing: {server_timing(phases)}\r\nx-glowplug-request: {flight.request}\r\n"
            f"cache-control: no-store\r\ncontent-type: {reply.content_type}\r\n"
        )
        if speaks_chunks:
            lines += "transfer-encoding: chunked\r\n"
        protocol.transport.write(head(reply.status, lines, keep_alive))

    def write(self, data: bytes) -> None:
        self._write_chunk(data)
        self.sent_bytes += len(data)
        self._owed_bytes += len(data)
        self.resume()

    def _write_chunk(self, data: bytes) -> None:
        self._protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._speaks_chunks else data)

    def resume(self) -> None:
        """Gives credit for what the client has read, or will soon."""
        if self._owed_bytes >= _CREDIT_BYTES and not self._protocol.flow.write_paused:
            self._give_credit(self._flight, self._owed_bytes)
            self._owed_bytes = 0

    def end(self) -> None:
        if self._speaks_chunks:
            self._protocol.transport.write(b"0\r\n\r\n")

    def break_off(self, error: GlowplugError) -> None:
        """Says why, where the format has a place for it. No end: what is not whole must not look whole. The
        caller closes the connection."""
        body = error_body(error)
        if self._content_type.startswith(_SSE):
            self._write_chunk(b"event: error\ndata: %b\n\n" % body)
        elif self._content_type.startswith(_NDJSON):
            self._write_chunk(body + b"\n")
