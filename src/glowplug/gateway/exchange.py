"""One request for a function, from its head to the last byte of its answer, on one HTTP connection."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from glowplug.core.errors import DeadlinePassed, GlowplugError, MethodNotAllowed, RequestCancelled
from glowplug.gateway.access_log import Entry
from glowplug.gateway.answers import error_body, error_lines, head
from glowplug.gateway.body import ReceivedBody
from glowplug.gateway.flight import Flight
from glowplug.gateway.phases import server_timing
from glowplug.gateway.stream import StreamedAnswer
from glowplug.gateway.target import Target
from glowplug.transport.connection import Reply

if TYPE_CHECKING:
    from glowplug.gateway.protocol import FunctionProtocol

_DISCARD_S = 5.0
_DISCARD_BYTES = 64 * 2**20
_JOINED_BYTES = 64 * 1024
_WORTH_BYTES = 64 * 1024
"""For less than this that is still to come, reading it another way is not worth while."""


class _Never:
    """Where uvicorn sets an event for its cycle: nobody waits for it here."""

    def set(self) -> None:
        pass


class Exchange(ReceivedBody):
    """Reads the request's body, begins its flight and writes its answer (flight.Client, deadlines.Waits).

    `open` is called once its turn has come and something is known of it: at the end of its body, or of what
    came of it at first. A refusal whose body is still to come reads on for a while before the connection
    closes: a client that still writes would otherwise see it reset, and never the answer.
    """

    message_event = _Never()
    url = b""
    headers: Sequence[tuple[bytes, bytes]] = ()
    method = b"POST"
    keep_alive = speaks_chunks = True
    disconnected = response_complete = False
    is_open = whole = refused = False
    counts = False
    """Whether the gateway counts it among its requests."""
    slot = 0
    target: Target | None = None
    flight: Flight | None = None
    stream: StreamedAnswer | None = None

    def __init__(self, protocol: FunctionProtocol, has_turn: bool) -> None:
        super().__init__(protocol.front.bodies)
        self.protocol = protocol
        self.has_turn = has_turn
        self.started_at = perf_counter()

    # the request

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
            self._refuse(error)
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
        """The length of a body of which something is still to come, once there is shared memory for it, with
        what came already; None when it is to be fed."""
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
                self._refuse(error)

    def feed(self, data: bytes) -> None:
        self.grow(len(data))
        if not self.refused:
            self.keep(data)

    def complete(self) -> None:
        """The body is whole."""
        self.whole = True
        if self.refused:
            self._finish()
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
            self._refuse(error)
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
            self._refuse(error)
        else:
            self.place = None
            if not self.response_complete:
                self.flight = flight

    def expire(self) -> None:
        """The body did not come in time, or what was left of an unwanted one."""
        if self.refused:
            self._finish()
        elif self.target is not None:
            self._refuse(DeadlinePassed(f"the body did not arrive within {self.target.timeout_s:g} s"))

    def _refuse(self, error: GlowplugError) -> None:
        """An answer before the request began."""
        self.refused = True
        self.chunks = []
        protocol = self.protocol
        front = protocol.front
        function = self.target.function if self.target is not None else None
        front.refused(error, function, perf_counter() - self.started_at)
        self.keep_alive = self.keep_alive and self.whole
        body = error_body(error)
        lines = f"{error_lines(error)}content-length: {len(body)}\r\n"
        protocol.transport.write(head(error.status, lines, self.keep_alive) + body)
        if front.access_log is not None:
            front.access_log(self._entry(error.status, len(body)))
        self._release()
        if self.whole:
            self._finish()
        else:
            front.gateway.deadlines.set(self, front.gateway.clock() + _DISCARD_S)

    # the answer

    def answered(self, flight: Flight, reply: Reply) -> None:
        if self.disconnected:
            return
        gateway = self.protocol.front.gateway
        if reply.stream:
            self.stream = StreamedAnswer(
                self.protocol, flight, reply, gateway.invoker.credit,
                keep_alive=self.keep_alive, speaks_chunks=self.speaks_chunks,
            )  # fmt: skip
            return
        phases, origin = gateway.finish(flight, reply, perf_counter() - flight.started_at)
        lines = f"server-timing: {server_timing(phases)}\r\nx-glowplug-request: {flight.request}\r\n"
        if origin:
            lines = f"{lines}x-glowplug-origin: {origin}\r\n"
        transport = self.protocol.transport
        if reply.error is not None:
            body, lines = error_body(reply.error), lines + error_lines(reply.error)
        else:
            body, lines = reply.body, f"{lines}content-type: {reply.content_type}\r\n"
        start = head(reply.status, f"{lines}content-length: {len(body)}\r\n", self.keep_alive)
        if len(body) <= _JOINED_BYTES:
            transport.write(start + body)
        else:
            transport.writelines((start, body))
        log = self.protocol.front.access_log
        if log is not None:
            log(self._entry(reply.status, len(body), flight.request, origin, phases))
        self._finish()

    def chunk(self, flight: Flight, data: bytes) -> None:
        if self.stream is not None:
            self.stream.write(data)

    def resume(self) -> None:
        """The client has read again."""
        if self.stream is not None:
            self.stream.resume()

    def ended(self, flight: Flight, reply: Reply) -> None:
        stream = self.stream
        if self.disconnected or stream is None:
            return
        front = self.protocol.front
        phases, origin = front.gateway.finish(flight, reply, perf_counter() - flight.started_at)
        if front.access_log is not None:
            front.access_log(self._entry(reply.status, stream.sent_bytes, flight.request, origin, phases))
        if reply.error is None:
            stream.end()
        else:
            stream.break_off(reply.error)
            self.keep_alive = False
        self._finish()

    # the end

    def leave(self) -> None:
        """The connection is lost."""
        self.disconnected = True
        gateway = self.protocol.front.gateway
        if self.slot:
            gateway.deadlines.drop(self)
        if not self.response_complete:
            log = self.protocol.front.access_log
            if log is not None and not self.refused:
                request = self.flight.request if self.flight is not None else 0
                sent_bytes = self.stream.sent_bytes if self.stream is not None else 0
                log(self._entry(RequestCancelled.status, sent_bytes, request))
            if self.flight is not None:
                gateway.invoker.leave(self.flight)
            self.response_complete = True
            self._release()

    def _entry(
        self,
        status: int,
        sent_bytes: int,
        request: int = 0,
        origin: str = "",
        phases: dict[str, float] | None = None,
    ) -> Entry:
        total_s = perf_counter() - self.started_at
        return Entry(
            time(), self.protocol.client, self.method, self.url, status, request, origin, phases,
            self.length, sent_bytes, total_s,
        )  # fmt: skip

    def _finish(self) -> None:
        self.response_complete = True
        if self.slot:
            self.protocol.front.gateway.deadlines.drop(self)
        self._release()
        if not self.keep_alive:
            self.protocol.transport.close()
        self.protocol.on_response_complete()

    def _release(self) -> None:
        front = self.protocol.front
        self.flight = None
        if self.counts:
            self.counts = False
            front.gateway.released()
        self.let_go()
