"""What a worker writes: its answers, small ones together.

`reply`, `error` and the streams' calls only queue, until `flush`, or BATCH_BYTES of it (unsent.py). A signal
handler may raise while user code runs (that is how a request is cancelled). Whatever it interrupts of the
writing, framing survives: bytes to write are kept until the kernel has them, and the next call finishes what
an interrupted one began.
"""

from __future__ import annotations

import socket

from glowplug.core.bodies import MAX_BODY_BYTES
from glowplug.core.errors import FunctionFailed
from glowplug.core.units import show_bytes
from glowplug.transport.begun import BegunPage
from glowplug.transport.frames import (
    MAX_CHUNK_BYTES,
    MAX_META_BYTES,
    STREAM_WINDOW_BYTES,
    ErrorMeta,
    Flag,
    Kind,
    ReplyMeta,
    encode,
)
from glowplug.transport.kept_regions import KeptRegions
from glowplug.transport.shared_memory import THRESHOLD_BYTES, OutgoingRegion
from glowplug.transport.unsent import Piece, Unsent

_JOIN_BYTES = 16 * 1024

Body = Piece | list[Piece]
"""Whole, or as pieces in a list that is emptied as soon as they are copied."""


class WorkerAnswers:
    """A request gets one `reply` or `error`, or `begin`, any number of `chunk`s and `end` or `error`; in any
    order among requests. Raises BrokenPipeError when the gateway is gone."""

    def __init__(self, sock: socket.socket, begun: BegunPage) -> None:
        self._begun = begun
        self._regions = KeptRegions()
        self._outgoing = OutgoingRegion()
        self._credit: dict[int, int] = {}
        """Of each stream that has begun, the bytes that may still be sent."""
        self._unsent = Unsent(sock)

    @property
    def unsent(self) -> bool:
        """Whether something is queued that `flush` would write."""
        return bool(self._unsent.pieces)

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
        self._begun.done(request)
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
