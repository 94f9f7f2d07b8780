"""One worker's connection as the gateway sees it: non-blocking, driven by the event loop, distrustful."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

import msgspec

from glowplug.core.errors import (
    FunctionFailed,
    GlowplugError,
    InvalidArguments,
    Overloaded,
    WorkerDied,
    from_code,
)
from glowplug.core.ids import InstanceId, RequestId
from glowplug.transport.begun import BegunReader
from glowplug.transport.closing import close_peer, close_strange
from glowplug.transport.frames import (
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
    known_phases,
)
from glowplug.transport.lent_regions import Lent, LentRegions, Slot
from glowplug.transport.outbox import Outbox
from glowplug.transport.shared_memory import (
    CLOSE_ON_EXEC,
    CUT_OFF,
    STRANGERS_ANCILLARY_BYTES,
    THRESHOLD_BYTES,
    IncomingRegion,
    received_descriptors,
)

READ_BYTES = 64 * 1024
"""Read in one turn of the loop, so that a worker that floods the gateway only delays it."""
_LAST_READS = 256
_FROM_WORKER = frozenset({Kind.HELLO, Kind.REPLY, Kind.ERROR, Kind.CHUNK, Kind.END})
Body = bytes | list[bytes] | Slot
"""A request's body: whole, as the pieces it came in, or where it was read to, which is empty once sent."""


class Reply(msgspec.Struct, frozen=True):
    """A worker's answer. `error` is set when it is one; `phases` are seconds, only ours by name. With
    `stream` its body follows in chunks, and after them one more Reply without a body."""

    status: int
    content_type: str
    body: bytes
    phases: dict[str, float] = {}
    origin: str = ""
    error: GlowplugError | None = None
    stream: bool = False


class NeverRead(WorkerDied):
    """The worker died before it began the request, which may be sent to another; `body` is its body, where
    that lay in shared memory."""

    body: bytes | None = None


OnAnswer = Callable[[Reply | bytes], None]
"""Gets the Reply; of a stream a Reply, its chunks, and the Reply that ends it, which has the error if it
broke."""


class Connection:
    """Requests out, answers in, matched by id. Every request gets exactly one answer: the worker's, or
    WorkerDied when the connection ends first. Bounded: `max_in_flight` requests and `max_unsent_bytes`, and
    of each stream STREAM_WINDOW_BYTES that `credit` has not been given for."""

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
        self._decoder = FrameDecoder(max_body_bytes, _FROM_WORKER)
        self._pending: dict[int, OnAnswer] = {}
        self._streams: dict[int, int] = {}
        """Streams that have begun, with their bytes that were not given credit for."""
        self._lent = LentRegions()
        self._incoming = IncomingRegion()
        self._owes_region = False
        self._descriptors: deque[int] = deque()
        self._outbox = Outbox(sock)
        self._page: BegunReader | None = None
        self.closed = False
        self._loop.add_reader(sock.fileno(), self._read_some)

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    def send(self, request: RequestId, meta: RequestMeta, body: Body, on_answer: OnAnswer) -> None:
        """Writes at once when the worker has nothing else to do, else with the other requests of this turn.

        Raises Overloaded when a bound is reached, WorkerDied when the worker is gone already; `on_answer` is
        called in neither case, and as OnAnswer says otherwise.
        """
        if self.closed:
            raise WorkerDied(f"instance {self.instance} has ended")
        pending, outbox = self._pending, self._outbox
        if len(pending) >= self._max_in_flight or outbox.unsent_bytes > self._max_unsent_bytes:
            raise Overloaded(f"instance {self.instance} has {len(pending)} requests waiting", 1.0)
        length = sum(map(len, body)) if type(body) is list else len(body)
        flags = 0
        lent = self._lend(request, body) if length >= THRESHOLD_BYTES and self._shares_memory else None
        if lent is not None:
            flags = Flag.IN_REGION if lent.descriptor is None else Flag.IN_REGION | Flag.NEW_REGION
            meta = msgspec.structs.replace(meta, region=lent.region, gone=lent.gone)
        if self._owes_region:
            flags |= Flag.REGION_FREE
            self._owes_region = False
        head = encode(Kind.REQUEST, request, meta, length, flags)
        write = outbox.soon if pending else outbox.now
        pending[request] = on_answer
        if lent is not None and lent.descriptor is not None:
            outbox.now(head, lent.descriptor)
        elif lent is not None or not length:
            write(head)
        else:
            pieces = _pieces(body)
            if length <= READ_BYTES:
                write(b"".join((head, *pieces)))
            else:
                for piece in (head, *pieces):
                    outbox.now(piece)

    def reserve(self, length: int) -> Slot | None:
        """A place in shared memory to read a body into that is to be sent here; None when there is none."""
        return self._lent.reserve(length) if self._shares_memory and not self.closed else None

    def _lend(self, request: RequestId, body: Body) -> Lent | None:
        if not isinstance(body, Slot):
            return self._lent.place(request, *_pieces(body))
        if body.is_of(self._lent):
            return self._lent.lend(request, body)
        lent = self._lent.place(request, body.view)
        if lent is not None:
            body.release()
        return lent

    def credit(self, request: RequestId, passed_bytes: int) -> None:
        """So many bytes of a stream's chunks have gone on to the client. Of a stream that is over:
        ignored."""
        owed_bytes = self._streams.get(request)
        if owed_bytes is not None and passed_bytes > 0:
            self._streams[request] = owed_bytes - passed_bytes
            self._outbox.soon(encode(Kind.CREDIT, request, CreditMeta(passed_bytes)))

    def cancel(self, request: RequestId) -> bool:
        """Has a request dropped that the worker has not begun. False when it has, or may have: then it
        runs."""
        if request not in self._pending or not self._is_unbegun(request):
            return False
        self._outbox.now(encode(Kind.CANCEL, request, None))
        return True

    def _is_unbegun(self, request: int) -> bool:
        begun = self._page.begun() if self._page is not None else None
        return begun is not None and request not in begun

    def has_begun(self, request: RequestId) -> bool:
        """Whether the worker says so, of any request, perhaps of another gateway's."""
        begun = self._page.begun() if self._page is not None else None
        return begun is not None and request in begun

    def _read_some(self) -> bool:
        """Reads once. False when there is nothing to read, or the connection ended."""
        try:
            data, ancillary, got, _ = self._sock.recvmsg(READ_BYTES, STRANGERS_ANCILLARY_BYTES, CLOSE_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionResetError:
            # So the kernel says, once, that the worker left requests unread. What it said is still there and
            # taken now, for uvloop watches no socket that had an error.
            self.drain_and_close("its process ended")
            return False
        except OSError:
            self.close("its process ended")
            return False
        try:
            if ancillary:
                received = received_descriptors(ancillary)
                self._descriptors.extend(received)
                if len(received) > 1:
                    raise ProtocolError("more descriptors came than a frame carries")
            if got & CUT_OFF:
                raise ProtocolError("a descriptor came for which there is no room")
            if not data:
                self.close("its process ended")
                return False
            for frame in self._decoder.feed(data):
                self._on_frame(frame)
            if self._descriptors and len(self._descriptors) > (not self._decoder.is_between_frames):
                raise ProtocolError("a descriptor came that no frame announced")
        except ProtocolError as error:
            self.close(f"it broke the protocol: {error}")
            return False
        return True

    def _on_frame(self, frame: Frame) -> None:
        request = frame.request
        if frame.kind is Kind.HELLO:
            if self._page is not None or not self._descriptors:
                raise ProtocolError("a worker says hello once, and shows its page")
            self._page = BegunReader(self._descriptors[0])
            self._descriptors.popleft()
            return
        on_answer = self._pending.get(request)
        if on_answer is None:
            raise ProtocolError(f"an answer came to request {request}, which is not there")
        if frame.kind is Kind.CHUNK:
            self._take_chunk(request, frame.body_bytes)
            self._deliver(on_answer, frame.body)
            return
        reply = self._read_answer(frame)
        if reply.stream:
            self._streams[request] = 0
        else:
            if self._outbox.unsent_bytes and self._outbox.has_yet_to_send(self._lent.descriptor(request)):
                # Given up, its number would be another's by then, and that would be sent.
                raise ProtocolError(f"an answer came to request {request}, which has yet to be sent")
            if frame.flags & Flag.REGION_FREE:
                self._lent.returned(request)
            elif request in self._lent:
                self._lent.abandon(request)
            del self._pending[request]
            self._streams.pop(request, None)
        self._deliver(on_answer, reply)

    def _take_chunk(self, request: int, size_bytes: int) -> None:
        owed_bytes = self._streams.get(request)
        if owed_bytes is None:
            raise ProtocolError(f"a chunk came of request {request}, which is no stream")
        if owed_bytes + size_bytes > STREAM_WINDOW_BYTES:
            raise ProtocolError(f"request {request} streams more than it has credit for")
        self._streams[request] = owed_bytes + size_bytes

    def _read_answer(self, frame: Frame) -> Reply:
        body = frame.body
        if frame.flags & Flag.NEW_REGION:
            if not self._descriptors:
                raise ProtocolError("a frame announced a region that did not come")
            self._incoming.replace(self._descriptors[0])
            self._descriptors.popleft()
        if frame.flags & Flag.IN_REGION:
            body = self._incoming.read(frame.body_bytes)
            self._owes_region = True
        if frame.kind is Kind.ERROR:
            failure = decode_meta(frame.meta, ErrorMeta)
            error = from_code(failure.code, failure.message)
            if isinstance(error, WorkerDied):  # who says so lives; the engine tells of its end
                error = FunctionFailed(failure.message)
            if isinstance(error, InvalidArguments):
                error.field = failure.field
            return Reply(error.status, "application/json", b"", known_phases(failure.phases), "", error)
        meta = decode_meta(frame.meta, ReplyMeta)
        streams = frame.request in self._streams
        if streams != (frame.kind is Kind.END) or (
            (streams or meta.stream) and (body or meta.stream is streams)
        ):
            raise ProtocolError("a stream has a beginning, chunks and an end, in this order")
        phases = known_phases(meta.phases)
        return Reply(meta.status, meta.content_type, body, phases, meta.origin, None, meta.stream)

    def _deliver(self, on_answer: OnAnswer, answer: Reply | bytes) -> None:
        try:
            on_answer(answer)
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
        """Every request in flight is answered: with NeverRead when the worker had not begun it, else with
        WorkerDied. Closing again does nothing."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._outbox.close()
        close_peer(self._sock)
        begun = self._page.begun() if self._page is not None else frozenset[int]()
        unread = {
            request: self._lent.body(request)
            for request in self._pending
            if begun is not None and request not in begun
        }
        self._lent.close()
        self._incoming.close()
        if self._page is not None:
            self._page.close()
        close_strange(self._descriptors)
        self._descriptors.clear()
        pending, self._pending = self._pending, {}
        self._streams.clear()
        self._on_lost(self.instance, why)
        for request, on_answer in pending.items():
            kind = NeverRead if request in unread else WorkerDied
            died = kind(f"instance {self.instance} died with the request in it: {why}")
            if isinstance(died, NeverRead):
                died.body = unread[request]
            self._deliver(on_answer, Reply(died.status, "application/json", b"", {}, "", died))


def _pieces(body: Body) -> list[bytes]:
    """What goes inline. A slot is empty then."""
    if isinstance(body, Slot):
        return [body.to_bytes()]
    return body if isinstance(body, list) else [body]
