"""How a request for a function ends on its HTTP connection: an answer, a refusal, or its client gone."""

from __future__ import annotations

from time import perf_counter, time
from typing import TYPE_CHECKING

from glowplug.core.errors import DeadlinePassed, GlowplugError, RequestCancelled
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
_JOINED_BYTES = 64 * 1024


class _Never:
    """Where uvicorn sets an event for its cycle: nobody waits for it here."""

    def set(self) -> None:
        pass


class Answering(ReceivedBody):
    """Writes what becomes of a request (flight.Client, deadlines.Waits).

    A refusal whose body is still to come reads on for a while before the connection closes: a client that
    still writes would otherwise see it reset, and never the answer.
    """

    message_event = _Never()
    url = b""
    method = b"POST"
    keep_alive = speaks_chunks = True
    disconnected = response_complete = False
    whole = refused = False
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

    def refuse(self, error: GlowplugError) -> None:
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
        if self.method == b"HEAD":
            body = b""
        protocol.transport.write(head(error.status, lines, self.keep_alive) + body)
        if front.access_log is not None:
            front.access_log(self._entry(error.status, len(body)))
        self._release()
        if self.whole:
            self.finish()
        else:
            front.gateway.deadlines.set(self, front.gateway.clock() + _DISCARD_S)

    def expire(self) -> None:
        """The body did not come in time, or what was left of an unwanted one."""
        if self.refused:
            self.finish()
        elif self.target is not None:
            self.refuse(DeadlinePassed(f"the body did not arrive within {self.target.timeout_s:g} s"))

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
        self.finish()

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
        self.finish()

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

    def finish(self) -> None:
        """It is over; what was asked after it has its turn."""
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
