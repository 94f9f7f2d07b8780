"""One worker's connection as the gateway sees it: non-blocking, driven by the event loop, distrustful."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

import msgspec

from glowplug.core.errors import GlowplugError, InvalidArguments, Overloaded, WorkerDied, from_code
from glowplug.core.ids import InstanceId, RequestId
from glowplug.transport.frames import (
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
    known_phases,
)
from glowplug.transport.shared_memory import (
    ANCILLARY_BYTES,
    IncomingRegion,
    OutgoingRegion,
    descriptor_message,
    received_descriptors,
)

READ_BYTES = 256 * 1024
"""Read in one turn of the loop, so that a worker that floods the gateway only delays it."""
_JOIN_BYTES = 16 * 1024
_LAST_READS = 64
_ANSWERS = frozenset({Kind.REPLY, Kind.ERROR})


class Reply(msgspec.Struct, frozen=True):
    """A worker's answer. `error` is set when it is one; `phases` are seconds, only ours by name."""

    status: int
    content_type: str
    body: bytes
    phases: dict[str, float] = {}
    origin: str = ""
    error: GlowplugError | None = None


class NeverRead(WorkerDied):
    """The worker died before it read the request, which may be sent to another."""


OnAnswer = Callable[[Reply], None]


class Connection:
    """Requests out, answers in, matched by id. Every request gets exactly one answer: the worker's, or
    WorkerDied when the connection ends first. Bounded: `max_in_flight` requests and `max_unsent_bytes`."""

    def __init__(
        self,
        instance: InstanceId,
        sock: socket.socket,
        on_lost: Callable[[InstanceId, str], None],
        max_body_bytes: int,
        max_in_flight: int,
        max_unsent_bytes: int,
    ) -> None:
        sock.setblocking(False)
        self.instance = instance
        self._sock = sock
        self._on_lost = on_lost
        self._max_in_flight = max_in_flight
        self._max_unsent_bytes = max_unsent_bytes
        self._loop = asyncio.get_running_loop()
        self._shares_memory = sock.family == socket.AF_UNIX
        self._decoder = FrameDecoder(max_body_bytes, _ANSWERS)
        self._pending: dict[int, OnAnswer] = {}
        self._region_user: int | None = None
        self._outgoing = OutgoingRegion()
        self._incoming = IncomingRegion()
        self._owes_region = False
        self._descriptors: deque[int] = deque()
        self._unsent: deque[tuple[memoryview, int | None]] = deque()
        self._unsent_bytes = 0
        self._unwritable = False
        self.closed = False
        self._loop.add_reader(sock.fileno(), self._read_some)

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    def send(self, request: RequestId, meta: RequestMeta, body: bytes, on_answer: OnAnswer) -> None:
        """Writes at once what the socket takes. Raises Overloaded when a bound is reached, WorkerDied when
        the worker is gone already; `on_answer` is called in neither case, and once otherwise."""
        if self.closed:
            raise WorkerDied(f"instance {self.instance} has ended")
        if len(self._pending) >= self._max_in_flight or self._unsent_bytes > self._max_unsent_bytes:
            raise Overloaded(f"instance {self.instance} has {len(self._pending)} requests waiting", 1.0)
        flags, descriptor, placed = 0, None, False
        if self._shares_memory:
            placed, descriptor = self._outgoing.place(body)
        if placed:
            self._region_user = request
            flags = Flag.IN_REGION if descriptor is None else Flag.IN_REGION | Flag.NEW_REGION
        if self._owes_region:
            flags |= Flag.REGION_FREE
            self._owes_region = False
        head = encode(Kind.REQUEST, request, meta, len(body), flags)
        self._pending[request] = on_answer
        if placed:
            self._queue(head, descriptor)
        elif len(body) <= _JOIN_BYTES:
            self._queue(head + body, None)
        else:
            self._queue(head, None)
            self._queue(body, None)

    def _queue(self, data: bytes, descriptor: int | None) -> None:
        view = memoryview(data)
        if not self._unsent:
            sent = self._send_some(view, descriptor)
            if sent == len(view):
                return
            if sent:
                view, descriptor = view[sent:], None
            self._loop.add_writer(self._sock.fileno(), self._on_writable)
        self._unsent.append((view, descriptor))
        self._unsent_bytes += len(view)

    def _send_some(self, view: memoryview, descriptor: int | None) -> int:
        try:
            if descriptor is None:
                return self._sock.send(view)
            return self._sock.sendmsg([view], descriptor_message(descriptor))
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # Its answers may still lie in the socket: the reader finds the end after them.
            self._unwritable = True
            return len(view)

    def _on_writable(self) -> None:
        while self._unsent:
            view, descriptor = self._unsent.popleft()
            sent = self._send_some(view, descriptor)
            self._unsent_bytes -= sent
            if sent < len(view):
                self._unsent.appendleft((view[sent:], descriptor if sent == 0 else None))
                return
        self._loop.remove_writer(self._sock.fileno())

    def _read_some(self) -> bool:
        """Reads once. False when there is nothing to read, or the connection ended."""
        try:
            data, ancillary, got, _ = self._sock.recvmsg(READ_BYTES, ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            # So the kernel says that what we sent was still unread when the worker's end closed.
            self._unwritable = self._unwritable or isinstance(error, ConnectionResetError)
            self.close("its process ended")
            return False
        try:
            if ancillary:
                self._descriptors.extend(received_descriptors(ancillary))
            if got & socket.MSG_CTRUNC:
                raise ProtocolError("more descriptors came than a frame carries")
            if not data:
                self.close("its process ended")
                return False
            for frame in self._decoder.feed(data):
                self._on_frame(frame)
            if len(self._descriptors) > (0 if self._decoder.is_between_frames else 1):
                raise ProtocolError("a descriptor came that no frame announced")
        except ProtocolError as error:
            self.close(f"it broke the protocol: {error}")
            return False
        return True

    def _on_frame(self, frame: Frame) -> None:
        on_answer = self._pending.get(frame.request)
        if on_answer is None:
            raise ProtocolError(f"an answer came to request {frame.request}, which is not there")
        if frame.flags & Flag.REGION_FREE:
            self._outgoing.returned()
        elif frame.request == self._region_user:
            self._outgoing.abandon()
        if frame.request == self._region_user:
            self._region_user = None
        reply = self._read_answer(frame)
        del self._pending[frame.request]
        self._deliver(on_answer, reply)

    def _read_answer(self, frame: Frame) -> Reply:
        body = frame.body
        if frame.flags & Flag.NEW_REGION:
            if not self._descriptors:
                raise ProtocolError("a frame announced a region that did not come")
            self._incoming.replace(self._descriptors.popleft())
        if frame.flags & Flag.IN_REGION:
            body = self._incoming.read(frame.body_bytes)
            self._owes_region = True
        if frame.kind is Kind.ERROR:
            failure = decode_meta(frame.meta, ErrorMeta)
            error = from_code(failure.code, failure.message)
            if isinstance(error, InvalidArguments):
                error.field = failure.field
            return Reply(error.status, "application/json", b"", known_phases(failure.phases), "", error)
        meta = decode_meta(frame.meta, ReplyMeta)
        return Reply(meta.status, meta.content_type, body, known_phases(meta.phases), meta.origin)

    def _deliver(self, on_answer: OnAnswer, reply: Reply) -> None:
        try:
            on_answer(reply)
        except Exception as error:
            context = {"message": "an answer could not be delivered", "exception": error}
            self._loop.call_exception_handler(context)

    def drain_and_close(self, why: str) -> None:
        """Takes the answers that came before the end, then closes."""
        for _ in range(_LAST_READS):
            if self.closed or not self._read_some():
                break
        self.close(why)

    def close(self, why: str) -> None:
        """Every request in flight is answered with WorkerDied, or with NeverRead when it alone was in flight
        and did not get through. Closing again does nothing."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._outgoing.close()
        self._incoming.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._unsent.clear()
        pending, self._pending = self._pending, {}
        self._on_lost(self.instance, why)
        kind = NeverRead if self._unwritable and len(pending) == 1 else WorkerDied
        for on_answer in pending.values():
            died = kind(f"instance {self.instance} died with the request in it: {why}")
            self._deliver(on_answer, Reply(died.status, "application/json", b"", {}, "", died))
