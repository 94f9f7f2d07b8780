"""The worker's end of the wire: blocking, synchronous, and small, for it lives in every function's process.

A signal handler may raise while user code runs (that is how a request is cancelled). Whatever it interrupts
here, framing survives: bytes to write are kept with the endpoint until the kernel has them, and the next call
finishes what an interrupted one began. Only `receive` may not be interrupted by an exception: a handler
raises only while `current` is a request.
"""

from __future__ import annotations

import mmap
import os
import socket
from collections import deque

import msgspec

from glowplug.transport.frames import (
    MAX_META_BYTES,
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
from glowplug.transport.shared_memory import (
    ANCILLARY_BYTES,
    IncomingRegion,
    OutgoingRegion,
    descriptor_message,
    received_descriptors,
)

_READ_BYTES = 256 * 1024
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


class WorkerEndpoint:
    """One request at a time: `receive`, then `reply` or `error`, and again until `receive` returns None.

    Owns `sock`. Raises ProtocolError when the gateway breaks the protocol, BrokenPipeError when it is gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._decoder = FrameDecoder(_MAX_BODY_BYTES, frozenset({Kind.REQUEST}))
        self._frames: deque[Frame] = deque()
        self._descriptors: deque[int] = deque()
        self._incoming = IncomingRegion()
        self._outgoing = OutgoingRegion()
        self._mapped: tuple[mmap.mmap, memoryview] | None = None
        self._pieces: list[memoryview] = []
        self._ancillary: list[tuple[int, int, bytes]] = []
        self._sent: list[int] = []
        self.current: int | None = None
        """The request that is being worked on: set while user code may be interrupted."""

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive(self) -> Incoming | None:
        """The next request, or None when the gateway closed the connection. Blocks."""
        self._flush()
        while not self._frames:
            flags = socket.MSG_CMSG_CLOEXEC
            try:
                data, ancillary, got, _ = self._sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES, flags)
            except ConnectionResetError:
                return None
            self._descriptors.extend(received_descriptors(ancillary))
            if got & socket.MSG_CTRUNC:
                raise ProtocolError("more descriptors came than a frame carries")
            if not data:
                return None
            self._frames.extend(self._decoder.feed(data))
        incoming = self._open(self._frames.popleft())
        self.current = incoming.request
        return incoming

    def _open(self, frame: Frame) -> Incoming:
        meta = decode_meta(frame.meta, RequestMeta)
        if frame.flags & Flag.REGION_FREE:
            self._outgoing.returned()
        if frame.flags & Flag.NEW_REGION:
            if not self._descriptors:
                raise ProtocolError("a frame announced a region that did not come")
            self._incoming.replace(self._descriptors.popleft())
        body = memoryview(frame.body)
        if frame.flags & Flag.IN_REGION:
            mapping = self._incoming.map(frame.body_bytes)
            body = memoryview(mapping)
            self._mapped = mapping, body
        return Incoming(
            request=frame.request,
            endpoint=meta.endpoint,
            content_type=meta.content_type,
            accept=meta.accept,
            deadline_s=meta.deadline_s,
            body=body,
        )

    def reply(
        self,
        request: int,
        status: int,
        content_type: str,
        body: bytes | bytearray | memoryview,
        phases: dict[str, float] | None = None,
        origin: str = "",
    ) -> None:
        """Answers `request`. `body` is C-contiguous and copied or written before this returns."""
        self.current = None
        meta = ReplyMeta(status=status, content_type=content_type, phases=phases or {}, origin=origin)
        view = memoryview(body)
        self._answer(Kind.REPLY, request, meta, view.cast("B") if view.nbytes else memoryview(b""))

    def error(
        self,
        request: int,
        code: str,
        message: str,
        field: str | None = None,
        phases: dict[str, float] | None = None,
    ) -> None:
        """Answers `request` with an error of core.errors. A message that is too long loses its middle."""
        self.current = None
        if len(message) > MAX_META_BYTES // 16:
            message = f"{message[:2000]} ... {message[-2000:]}"
        meta = ErrorMeta(code=code, message=message, field=field, phases=phases or {})
        self._answer(Kind.ERROR, request, meta, memoryview(b""))

    def _answer(self, kind: Kind, request: int, meta: ReplyMeta | ErrorMeta, body: memoryview) -> None:
        self._flush()
        placed, fresh = self._outgoing.place(body)
        flags = int(Flag.IN_REGION) if placed else 0
        if fresh is not None:
            flags |= Flag.NEW_REGION
        if self._give_back():
            flags |= Flag.REGION_FREE
        head = memoryview(encode(kind, request, meta, len(body), flags))
        self._sent = []
        self._ancillary = [] if fresh is None else descriptor_message(fresh)
        self._pieces = [head] if placed or not len(body) else [head, body]
        self._flush()

    def _give_back(self) -> bool:
        """Unmaps the request's body. False when there was none, or user code still holds a view of it."""
        if self._mapped is None:
            return False
        (mapping, view), self._mapped = self._mapped, None
        try:
            view.release()
            mapping.close()
        except BufferError:
            return False
        return True

    def _flush(self) -> None:
        """Writes what is left to write. What a signal handler raises meanwhile is raised after that."""
        try:
            self._write()
        except BaseException:
            self._write()
            raise

    def _write(self) -> None:
        while self._pieces:
            done = sum(self._sent)
            rest: list[memoryview] = []
            for piece in self._pieces:
                rest += [piece[done:]] if done < len(piece) else []
                done = max(0, done - len(piece))
            if not rest:
                self._pieces = []
                break
            # One call from the list down to the socket: no handler can raise between a write and its count.
            if self._ancillary and not self._sent:
                self._sent.extend(map(self._sock.sendmsg, (rest,), (self._ancillary,)))
            else:
                self._sent.extend(map(self._sock.sendmsg, (rest,)))

    def close(self) -> None:
        """Closes the socket and the regions."""
        self._incoming.close()
        self._outgoing.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._sock.close()
