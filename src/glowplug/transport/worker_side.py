"""The worker's end of the wire: synchronous, and small, for it lives in every function's process.

Answers are written together: `reply`, `error` and the streams' calls only queue, until `flush`, BATCH_BYTES,
or `receive` with nothing more at hand.

A signal handler may raise while user code runs (that is how a request is cancelled). Whatever it interrupts
of the writing, framing survives: bytes to write are kept with the endpoint until the kernel has them, and the
next call finishes what an interrupted one began. `receive` and `read` may not be interrupted by an exception;
`wait` may.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import deque
from time import monotonic

import msgspec

from glowplug.core.bodies import MAX_BODY_BYTES
from glowplug.core.errors import FunctionFailed, RequestCancelled
from glowplug.core.units import show_bytes
from glowplug.transport.begun import BegunPage
from glowplug.transport.frames import (
    MAX_CHUNK_BYTES,
    MAX_META_BYTES,
    STREAM_WINDOW_BYTES,
    CreditMeta,
    ErrorMeta,
    Flag,
    Frame,
    FrameDecoder,
    Kind,
    ProtocolError,
    ReplyMeta,
    RequestMeta,
    decode_meta,
    encode,
)
from glowplug.transport.kept_regions import KeptRegions
from glowplug.transport.shared_memory import (
    ANCILLARY_BYTES,
    AT_ONCE,
    CLOSE_ON_EXEC,
    CUT_OFF,
    THRESHOLD_BYTES,
    OutgoingRegion,
    descriptor_message,
    received_descriptors,
)
from glowplug.transport.unsent import Piece, Unsent

_READ_BYTES = 256 * 1024
_JOIN_BYTES = 16 * 1024
STALE_S = 0.001
"""A request that was read longer ago is not begun before the socket was looked into again."""
_MAX_BODY_BYTES = 2**40
"""The gateway is trusted and has its own bound."""

Body = Piece | list[Piece]
"""Whole, or as pieces in a list that is emptied as soon as they are copied."""


class Incoming(msgspec.Struct):
    """A request. `body` is writable or not, and valid for as long as somebody holds it or a view of it."""

    request: int
    endpoint: str
    content_type: str
    accept: str
    deadline_s: float
    body: memoryview
    together: int = 0


class WorkerEndpoint:
    """Requests by `receive` (or `wait`, `read` and `take`); each gets one `reply` or `error`, or `begin`, any
    number of `chunk`s and `end` or `error`, in any order among requests.

    Owns `sock`. Raises ProtocolError when the gateway breaks the protocol, BrokenPipeError when it is gone.
    `begun` is the worker's page, where it has one over several gateways (several_gateways.py).
    """

    def __init__(self, sock: socket.socket, begun: BegunPage | None = None) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._decoder = FrameDecoder(_MAX_BODY_BYTES, frozenset({Kind.REQUEST, Kind.CREDIT, Kind.CANCEL}))
        self._waiting: deque[Incoming] = deque()
        self._descriptors: deque[int] = deque()
        self._regions = KeptRegions()
        self._outgoing = OutgoingRegion()
        self._credit: dict[int, int] = {}
        """Of each stream that has begun, the bytes that may still be sent."""
        self._unsent = Unsent(sock)
        self.ended = False
        """The gateway has closed the connection."""
        self._read_at_s = 0.0
        self._begun = BegunPage() if begun is None else begun
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

    @property
    def unsent(self) -> bool:
        """Whether something is queued that `flush` would write."""
        return bool(self._unsent.pieces)

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

    def reply(
        self,
        request: int,
        status: int,
        content_type: str,
        body: Body,
        phases: dict[str, float] | None = None,
        origin: str = "",
    ) -> None:
        """Answers `request`; with an error where `body` is larger than a gateway would take. `body` is
        C-contiguous and copied or written before this returns."""
        self._answer(Kind.REPLY, request, ReplyMeta(status, content_type, phases or {}, origin), body)

    def error(
        self,
        request: int,
        code: str,
        message: str,
        field: str | None = None,
        phases: dict[str, float] | None = None,
    ) -> None:
        """Answers `request` with an error of core.errors, or ends its stream with one. A message that is too
        long loses its middle."""
        if len(message) > MAX_META_BYTES // 16:
            message = f"{message[:2000]} ... {message[-2000:]}"
        self._credit.pop(request, None)
        self._answer(Kind.ERROR, request, ErrorMeta(code, message, field, phases or {}), b"")

    def begin(
        self, request: int, content_type: str, phases: dict[str, float] | None = None, origin: str = ""
    ) -> None:
        """Begins to answer `request` with a stream."""
        self._credit[request] = STREAM_WINDOW_BYTES
        self._unsent.add(
            encode(Kind.REPLY, request, ReplyMeta(200, content_type, phases or {}, origin, True))
        )

    def chunk(self, request: int, data: Piece) -> int:
        """Sends of `data` what the stream has credit for, and returns how much that was; for the rest, `read`
        until there is more."""
        view = memoryview(data)
        allowed = min(len(view), self._credit[request])
        for at in range(0, allowed, MAX_CHUNK_BYTES):
            part = view[at : min(allowed, at + MAX_CHUNK_BYTES)]
            self._unsent.add(b"".join((encode(Kind.CHUNK, request, None, len(part)), part)))
        self._credit[request] -= allowed
        return allowed

    def end(self, request: int, phases: dict[str, float] | None = None) -> None:
        """Ends the stream of `request`."""
        self._credit.pop(request, None)
        self._answer(Kind.END, request, ReplyMeta(phases=phases or {}), b"")

    def _answer(self, kind: Kind, request: int, meta: ReplyMeta | ErrorMeta, body: Body) -> None:
        pieces = [_flat(piece) for piece in body] if isinstance(body, list) else [_flat(body)]
        length = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        if length > MAX_BODY_BYTES:
            kind, meta, pieces, length = Kind.ERROR, _too_large(length, meta.phases), [], 0
        flags, fresh, placed = 0, None, False
        if length >= THRESHOLD_BYTES:
            placed, fresh = self._outgoing.place(*pieces)
            if placed:
                flags = Flag.IN_REGION if fresh is None else Flag.IN_REGION | Flag.NEW_REGION
        if request in self._regions:
            pieces = [] if placed else [b"".join(pieces)]  # it may lie in the region that is given back
            if isinstance(body, list):
                body.clear()
            if self._regions.give_back(request):
                flags |= Flag.REGION_FREE
        head = encode(kind, request, meta, length, flags)
        if fresh is not None:
            self._unsent.attach(fresh)
        if placed or not length:
            self._unsent.add(head)
        elif length <= _JOIN_BYTES:
            self._unsent.add(b"".join((head, *pieces)))
        else:
            self._unsent.add(head)
            for piece in pieces:
                self._unsent.add(piece)
        if fresh is not None or length > _JOIN_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what is queued. What a signal handler raises meanwhile is raised after that."""
        self._unsent.flush()

    def close(self) -> None:
        """Writes what is queued, if it can be, and closes the socket and the regions."""
        with contextlib.suppress(OSError):
            self.flush()
        self._regions.close()
        self._outgoing.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._sock.close()


def _too_large(length: int, phases: dict[str, float]) -> ErrorMeta:
    return ErrorMeta(
        FunctionFailed.code,
        f"the answer has {show_bytes(length)} and may have {show_bytes(MAX_BODY_BYTES)}: yield it in pieces, "
        "or store it and answer with where it is",
        phases=phases,
    )


def _flat(piece: Piece) -> Piece:
    """The same bytes, such that `len` is their number."""
    if type(piece) is memoryview and (piece.ndim != 1 or piece.format != "B"):
        return piece.cast("B") if piece.nbytes else b""
    return piece
