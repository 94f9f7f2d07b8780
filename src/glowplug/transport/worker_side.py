"""The worker's end of the wire: synchronous, and small, for it lives in every function's process.

What is read here may not be interrupted by an exception of a signal handler, but for `wait`; what is written
may (worker_answers.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import deque
from time import monotonic

import msgspec

from glowplug.core.errors import RequestCancelled
from glowplug.transport.begun import BegunPage
from glowplug.transport.frames import (
    CreditMeta,
    Flag,
    Frame,
    FrameDecoder,
    Kind,
    ProtocolError,
    RequestMeta,
    decode_meta,
    encode,
)
from glowplug.transport.shared_memory import (
    ANCILLARY_BYTES,
    AT_ONCE,
    CLOSE_ON_EXEC,
    CUT_OFF,
    descriptor_message,
    received_descriptors,
)
from glowplug.transport.worker_answers import WorkerAnswers

_READ_BYTES = 256 * 1024
STALE_S = 0.001
"""A request that was read longer ago is not begun before the socket was looked into again."""
_MAX_BODY_BYTES = 2**40
"""The gateway is trusted and has its own bound."""


class Incoming(msgspec.Struct):
    """A request. `body` is writable or not, and valid for as long as somebody holds it or a view of it."""

    request: int
    endpoint: str
    content_type: str
    accept: str
    deadline_s: float
    body: memoryview
    together: int = 0


class WorkerEndpoint(WorkerAnswers):
    """Requests by `receive`, which writes what is queued when nothing more is at hand, or by `wait`, `read`
    and `take`.

    Owns `sock`. Raises ProtocolError when the gateway breaks the protocol, BrokenPipeError when it is gone.
    `begun` is the worker's page, where it has one over several gateways (several_gateways.py).
    """

    def __init__(self, sock: socket.socket, begun: BegunPage | None = None) -> None:
        super().__init__(sock, BegunPage() if begun is None else begun)
        sock.setblocking(True)
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._decoder = FrameDecoder(_MAX_BODY_BYTES, frozenset({Kind.REQUEST, Kind.CREDIT, Kind.CANCEL}))
        self._waiting: deque[Incoming] = deque()
        self._descriptors: deque[int] = deque()
        self.ended = False
        """The gateway has closed the connection."""
        self._read_at_s = 0.0
        try:
            self._say_hello()
        finally:
            if begun is None:
                os.close(self._begun.descriptor)

    def _say_hello(self) -> None:
        """Shows the gateway what is begun here. One that is gone already is found to be by `receive`."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            hello = encode(Kind.HELLO, 0, None)
            self._sock.sendmsg([hello], descriptor_message(self._begun.descriptor))

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def waiting(self) -> int:
        """Requests that have been read and not taken."""
        return len(self._waiting)

    def receive(self) -> Incoming | None:
        """The next request, or None when the gateway closed the connection. Blocks."""
        self.refresh()
        while not self._waiting:
            self.flush()
            self._read(0)
            if self.ended:
                return None
        return self._begin_next()

    def refresh(self) -> None:
        """Reads when what waits was read a while ago: perhaps it is not wanted any more."""
        if self._waiting and monotonic() - self._read_at_s > STALE_S:
            self._read(AT_ONCE)

    def _begin_next(self) -> Incoming:
        incoming = self._waiting.popleft()
        self._begun.add(incoming.request)
        return incoming

    def take(self) -> Incoming | None:
        """The next request that has been read, if there is one."""
        return self._begin_next() if self._waiting else None

    def take_for(self, endpoint: str, limit: int) -> list[Incoming]:
        """At most `limit` requests for one endpoint that have been read; the others keep their order."""
        found: list[Incoming] = []
        kept: list[Incoming] = []
        while self._waiting and len(found) < limit:
            incoming = self._waiting.popleft()
            (found if incoming.endpoint == endpoint else kept).append(incoming)
        self._waiting.extendleft(reversed(kept))
        for incoming in found:
            self._begun.add(incoming.request)
        return found

    def waiting_for(self, endpoint: str) -> int:
        """How many requests for one endpoint have been read and not taken."""
        return sum(incoming.endpoint == endpoint for incoming in self._waiting)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether there is something to `read`, within `timeout_s` or for ever. A handler may raise here."""
        return bool(self._poll.poll(None if timeout_s is None else timeout_s * 1000))

    def read(self) -> bool:
        """Reads once what has come, without blocking. False when nothing had, or the gateway is gone."""
        return self._read(AT_ONCE)

    def _read(self, flags: int) -> bool:
        try:
            data, ancillary, got, _ = self._sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES, flags | CLOSE_ON_EXEC)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data, ancillary, got = b"", [], 0
        self._read_at_s = monotonic()
        if ancillary:
            self._descriptors.extend(received_descriptors(ancillary))
        if got & CUT_OFF:
            raise ProtocolError("more descriptors came than a frame carries")
        if not data:
            self.ended = True
            return False
        for frame in self._decoder.feed(data):
            if frame.kind is Kind.REQUEST:
                self._waiting.append(self._open(frame))
            elif frame.kind is Kind.CANCEL:
                self._drop(frame.request)
            elif frame.request in self._credit:
                self._credit[frame.request] += decode_meta(frame.meta, CreditMeta).bytes
        return True

    def _drop(self, request: int) -> None:
        """Answers a request that nobody waits for any more, unless it has begun."""
        for index, incoming in enumerate(self._waiting):
            if incoming.request == request:
                del self._waiting[index], incoming
                self.error(request, RequestCancelled.code, "the request was cancelled before it began")
                return

    def _open(self, frame: Frame) -> Incoming:
        meta = decode_meta(frame.meta, RequestMeta)
        body = memoryview(frame.body)
        if frame.flags:
            if frame.flags & Flag.REGION_FREE:
                self._outgoing.returned()
            if frame.flags & Flag.NEW_REGION:
                if not self._descriptors:
                    raise ProtocolError("a frame announced a region that did not come")
                self._regions.add(meta.region, self._descriptors.popleft())
            if frame.flags & Flag.IN_REGION:
                self._regions.forget(meta.gone)
                body = self._regions.open(frame.request, meta.region, frame.body_bytes)
        return Incoming(
            frame.request, meta.endpoint, meta.content_type, meta.accept, meta.deadline_s, body, meta.together
        )

    def close(self) -> None:
        """Writes what is queued, if it can be, and closes the socket and the regions."""
        with contextlib.suppress(OSError):
            self.flush()
        self._regions.close()
        self._outgoing.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._sock.close()
