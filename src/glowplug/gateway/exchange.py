"""One request for a function, from its head to the last byte of its answer, on one HTTP connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glowplug.core.errors import GlowplugError, MethodNotAllowed
from glowplug.gateway.answering import Answering
from glowplug.gateway.target import Target

_DISCARD_BYTES = 64 * 2**20
_WORTH_BYTES = 64 * 1024
"""For less than this that is still to come, reading it another way is not worth while."""


class Exchange(Answering):
    """Reads the request's body and begins its flight.

    `open` is called once its turn has come and something is known of it: at the end of its body, or of what
    came of it at first.
    """

    headers: Sequence[tuple[bytes, bytes]] = ()
    is_open = False
    head_bytes = 0
    """Of one that waits behind another."""

    def ask(self, url: bytes, target: Target, body: bytes) -> None:
        """A request that is whole, and whose head was read before."""
        self.url = url
        self.is_open = self.whole = True
        self.target = target
        self.chunks.append(body)
        self.length = len(body)
        try:
            self.hold()
        except GlowplugError as error:
            self.refuse(error)
        else:
            self._fly()

    def begin(self, url: bytes, headers: Sequence[tuple[bytes, bytes]], parser: Any) -> None:
        """The head is complete."""
        self.url = url
        self.headers = headers
        self.method = parser.get_method()
        self.speaks_chunks = parser.get_http_version() != "1.0"
        self.keep_alive = self.speaks_chunks and parser.should_keep_alive()

    def expect(self, url: bytes, target: Target, length: int) -> bool:
        """A request whose head was read before, and whose big body comes into shared memory. False when there
        is no room for it: then nothing has begun."""
        self.target = target
        if not self._reserve(length):
            return False
        self.url = url
        self.is_open = True
        self._wait_for_body(target)
        return True

    def claim(self) -> int | None:
        """The length of a body that is not complete yet, with what came already, once there is shared
        memory for it. None if the body is to be fed in chunks."""
        target = self.target
        length = None if target is None else target.wishes.content_bytes
        if length is None or length - self.length < _WORTH_BYTES or not self._reserve(length):
            return None
        return length

    def _reserve(self, length: int) -> bool:
        assert self.target is not None
        place = self.protocol.front.gateway.reserve(self.target.function, length)
        if place is None:
            return False
        self.read_to(place)
        return True

    def grow(self, more: int) -> None:
        """So many bytes more have come."""
        self.length += more
        if self.refused:
            if self.length > _DISCARD_BYTES:
                self.protocol.transport.close()
        elif self.is_open:
            try:
                self.hold()
            except GlowplugError as error:
                self.refuse(error)

    def feed(self, data: bytes) -> None:
        self.grow(len(data))
        if not self.refused:
            self.keep(data)

    def complete(self) -> None:
        """The body is whole."""
        self.whole = True
        if self.refused:
            self.finish()
        elif self.is_open:
            self._fly()
        elif self.has_turn:
            self.open()

    def take_turn(self) -> None:
        """What was asked before on this connection is answered."""
        self.has_turn = True
        self.open()

    def open(self) -> None:
        self.is_open = True
        protocol = self.protocol
        try:
            if self.method != b"POST":
                raise MethodNotAllowed("functions are called with POST")
            target = self.target = protocol.read_target(self.url, self.headers)
            if not self.whole:
                protocol.front.bodies.check(target.wishes.content_bytes or 0)
            self.hold()
        except GlowplugError as error:
            self.refuse(error)
            return
        if self.whole:
            self._fly()
            return
        self._wait_for_body(target)
        if any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers):
            protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _wait_for_body(self, target: Target) -> None:
        gateway = self.protocol.front.gateway
        gateway.deadlines.set(self, gateway.clock() + target.timeout_s)

    def _fly(self) -> None:
        gateway, target = self.protocol.front.gateway, self.target
        assert target is not None
        if self.slot:
            gateway.deadlines.drop(self)
        self.counts = True
        try:
            flight = gateway.begin(
                target.function,
                target.meta,
                self.taken(),
                target.timeout_s,
                self,
                target.wishes.priority,
                self.started_at,
            )
        except GlowplugError as error:
            self.counts = False
            self.refuse(error)
        else:
            self.place = None
            if not self.response_complete:
                self.flight = flight
