"""Big bodies on their way from a client's socket right into the shared memory that a worker reads them from:
no parser, no copy in between."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from glowplug.gateway.exchange import Exchange

if TYPE_CHECKING:
    from glowplug.gateway.protocol import FunctionProtocol

_SCRATCH = memoryview(bytearray(64 * 1024))
"""Where what nobody wants is read to."""
_AT_ONCE_BYTES = 2**20
"""The kernel is asked to keep no more than this before it tells."""


class BodyReader(asyncio.BufferedProtocol):
    """Stands before its connection's protocol from the head of a big request on: for its body, and then for
    as long as the client sends such requests, whose heads repeat, one after another.

    Heads are never read into shared memory: a worker may look at a region at any time. Of a head that repeats
    the length is known, so that exactly its bytes are read, and after them the body. Whatever else comes
    goes to the protocol, and all that follows as well.
    """

    def __init__(self, protocol: FunctionProtocol) -> None:
        self._protocol = protocol
        self._exchange: Exchange | None = None
        """Whose body comes."""
        self._length = 0
        self._head = memoryview(b"")
        self._told_at_bytes = 1

    def read(self, exchange: Exchange, length: int) -> None:
        """From here on comes what is left of a body of `length` bytes."""
        self._exchange, self._length = exchange, length

    def get_buffer(self, sizehint: int) -> memoryview:
        exchange = self._exchange
        if exchange is None:
            return self._head
        if exchange.place is not None:
            return exchange.place.view[exchange.length :]
        return _SCRATCH[: self._length - exchange.length]

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self._exchange
        if exchange is None:
            self._on_head(nbytes)
            return
        exchange.grow(nbytes)
        left_bytes = self._length - exchange.length
        self._be_told_at(max(1, min(left_bytes, _AT_ONCE_BYTES)))
        if left_bytes <= 0:
            self._exchange = None
            exchange.complete()
            self._expect_head()

    def _be_told_at(self, nbytes: int) -> None:
        """The loop is woken when so much has come, not for every segment that a network delivers."""
        transport = self._protocol.transport
        if nbytes != self._told_at_bytes and not transport.is_closing():
            self._told_at_bytes = nbytes
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, nbytes)

    def _expect_head(self) -> None:
        head_bytes = self._protocol.repeated_bytes
        if not head_bytes:
            self._step_aside()
        elif len(self._head) != head_bytes:
            self._head = memoryview(bytearray(head_bytes))

    def _on_head(self, nbytes: int) -> None:
        head = bytes(self._head[:nbytes])
        exchange = self._protocol.expect(head)
        if exchange is None:
            self._step_aside()
            self._protocol.data_received(head)
            return
        assert exchange.place is not None
        self.read(exchange, len(exchange.place))

    def _step_aside(self) -> None:
        self._protocol.transport.set_protocol(self._protocol)

    # what is the protocol's to know

    def connection_lost(self, exc: Exception | None) -> None:
        self._exchange = None
        self._protocol.connection_lost(exc)

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
