"""A real worker in a process of its own, with the two ends that a gateway and an agent would hold."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bundle.instantiate import Served
from glowplug.core.specs import Declaration
from glowplug.endpoints import endpoint_spec
from glowplug.loader.devices.base import Device
from glowplug.node import wire
from glowplug.node.messages import CancelRequest, Fork, LetGo, WorkerReady
from glowplug.node.routes import Routes
from glowplug.node.worker import Worker
from glowplug.transport.frames import (
    CreditMeta,
    ErrorMeta,
    Flag,
    Frame,
    FrameDecoder,
    Kind,
    ReplyMeta,
    RequestMeta,
    decode_meta,
    encode,
)
from glowplug.transport.several_gateways import let_in
from glowplug.transport.shared_memory import (
    ANCILLARY_BYTES,
    IncomingRegion,
    OutgoingRegion,
    descriptor_message,
    received_descriptors,
)
from tests.transport.hello import take_hello

PATIENCE_S = 180.0
SIGNAL_AGAIN_S = 1.0


class Answer(msgspec.Struct):
    """What came for one request: a reply, or a stream, whole; `code` is an error's."""

    body: bytes
    content_type: str = ""
    code: str = ""
    message: str = ""
    field: str | None = None
    phases: dict[str, float] = {}
    origin: str = ""
    streamed: bool = False
    region_free: bool = False

    def value(self) -> Any:
        assert not self.code, self.message
        return msgspec.json.decode(self.body)


class WorkerProcess:
    """`data` is the gateway's end. Answers come in any order; each is kept until it is asked for."""

    def __init__(self, pid: int, data: socket.socket, control: socket.socket) -> None:
        self.pid = pid
        self.data = data
        self._control = wire.Receiver(control, WorkerReady | LetGo)
        self._decoder = FrameDecoder(2**30)
        self._outgoing = OutgoingRegion()
        self._incoming = IncomingRegion()
        self._owes_region = False
        self._streams: dict[int, Answer] = {}
        self.answers: dict[int, Answer] = {}
        self.order: list[int] = []
        self.credits = True
        data.settimeout(PATIENCE_S)
        take_hello(data)

    def ask(self, *requests: tuple[int, str, Any], **meta: Any) -> None:
        """Requests as (id, endpoint, arguments), in one write. What is not bytes becomes JSON."""
        wire_bytes = b""
        for request, endpoint, arguments in requests:
            body = arguments if isinstance(arguments, bytes) else msgspec.json.encode(arguments)
            wire_bytes += encode(Kind.REQUEST, request, RequestMeta(endpoint, **meta), len(body)) + body
        self.data.sendall(wire_bytes)

    def ask_in_region(self, request: int, endpoint: str, body: bytes, **meta: Any) -> None:
        placed, descriptor = self._outgoing.place(body)
        assert placed
        flags = Flag.IN_REGION | (0 if descriptor is None else Flag.NEW_REGION)
        flags |= Flag.REGION_FREE if self._owes_region else 0
        self._owes_region = False
        head = encode(Kind.REQUEST, request, RequestMeta(endpoint, **meta), len(body), flags)
        self.data.sendmsg([head], [] if descriptor is None else descriptor_message(descriptor))

    def credit(self, request: int, amount: int) -> None:
        self.data.sendall(encode(Kind.CREDIT, request, CreditMeta(amount)))

    def answer(self, request: int) -> Answer:
        """The whole answer to a request; waits for it."""
        while request not in self.answers:
            self.read()
        return self.answers.pop(request)

    def streamed(self, request: int, at_least: int) -> bytes:
        """What has come of a stream that goes on, once that is `at_least` bytes."""
        while request not in self._streams or len(self._streams[request].body) < at_least:
            assert request not in self.answers, self.answers[request]
            self.read()
        return self._streams[request].body

    def read(self) -> None:
        data, ancillary, _, _ = self.data.recvmsg(2**18, ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        assert data, "the worker is gone"
        for descriptor in received_descriptors(ancillary):
            self._incoming.replace(descriptor)
        for frame in self._decoder.feed(data):
            self._on_frame(frame)

    def _on_frame(self, frame: Frame) -> None:
        request = frame.request
        if frame.kind is Kind.CHUNK:
            self._streams[request].body += frame.body
            if self.credits:
                self.credit(request, len(frame.body))
            return
        if frame.kind is Kind.ERROR:
            failure = decode_meta(frame.meta, ErrorMeta)
            found = self._streams.pop(request, Answer(b""))
            found.code, found.message, found.field = failure.code, failure.message, failure.field
        else:
            meta = decode_meta(frame.meta, ReplyMeta)
            if meta.stream:
                self._streams[request] = Answer(b"", meta.content_type, origin=meta.origin, streamed=True)
                return
            if frame.kind is Kind.END:
                found = self._streams.pop(request)
                found.phases = meta.phases
            else:
                found = Answer(frame.body, meta.content_type, phases=meta.phases, origin=meta.origin)
        if frame.flags & Flag.IN_REGION:
            found.body = self._incoming.read(frame.body_bytes)
            self._owes_region = True
        if frame.flags & Flag.REGION_FREE:
            self._outgoing.returned()
            found.region_free = True
        self.answers[request] = found
        self.order.append(request)

    def cancel(self, request: int) -> None:
        """As the agent does it."""
        wire.send(self._control.sock, CancelRequest(request))
        os.kill(self.pid, signal.SIGUSR1)

    def let_go(self) -> int:
        """The next request that the worker says it has let go; signals again, as the agent does it."""
        deadline_s = time.monotonic() + PATIENCE_S
        self._control.sock.settimeout(SIGNAL_AGAIN_S)
        while True:
            try:
                found = self._control.receive()
            except TimeoutError:
                assert time.monotonic() < deadline_s, "the worker does not let go"
                os.kill(self.pid, signal.SIGUSR1)
                continue
            assert found is not None
            if isinstance(found[0], LetGo):
                return found[0].request

    def close(self) -> None:
        self.data.close()
        self._control.sock.close()
        self._outgoing.close()
        self._incoming.close()


def until_running(path: Path) -> None:
    """Returns when a function has written something to `path`."""
    until(lambda: path.exists() and bool(path.read_text()), "the function does not run")


def until(condition: Callable[[], bool], problem: str) -> None:
    """Returns when `condition` holds; fails with `problem` when it never does."""
    deadline_s = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline_s, problem
        pause.wait(0.001)


def declared(*calls: Callable[..., Any], concurrency: int = 1, **batching: Any) -> Declaration:
    """`batching` holds for the functions whose first argument is annotated as a list."""
    specs = tuple(endpoint_spec(call, **(batching if "batch" in call.__name__ else {})) for call in calls)
    return Declaration(
        calls[0].__name__, "function", "m", "q", endpoints=specs, target_concurrency=concurrency
    )


class Gateways(list[WorkerProcess]):
    """One worker as each of several gateways sees it. The first tells its agent's end as well."""

    def __init__(self, pid: int, door: socket.socket, control: socket.socket, count: int) -> None:
        self.pid = pid
        self._door = door
        self._control = control
        super().__init__(self.another() for _ in range(count))

    def another(self) -> WorkerProcess:
        """One more, when it has been let in."""
        ours, theirs = socket.socketpair()
        let_in(self._door, theirs)
        return WorkerProcess(self.pid, ours, self._control)

    def close(self) -> None:
        self._door.close()
        for gateway in self:
            gateway.close()


@contextmanager
def several_gateways(
    *calls: Callable[..., Any], concurrency: int = 1, count: int = 2, **batching: Any
) -> Iterator[Gateways]:
    """As worker_process, with a door through which each of `count` gateways has come."""
    door, theirs = wire.socket_pair()
    with _worker(calls, door, theirs, concurrency, None, batching) as (pid, control):
        gateways = Gateways(pid, door, control, count)
        try:
            yield gateways
        finally:
            gateways.close()


@contextmanager
def worker_process(
    *calls: Callable[..., Any], concurrency: int = 1, device: Device | None = None, **batching: Any
) -> Iterator[WorkerProcess]:
    """A worker forked from this process that answers `calls` by their names, on a device or none."""
    data, theirs = socket.socketpair()
    with _worker(calls, data, theirs, concurrency, device, batching) as (pid, control):
        worker = WorkerProcess(pid, data, control)
        try:
            yield worker
        finally:
            worker.close()


@contextmanager
def _worker(
    calls: tuple[Callable[..., Any], ...],
    data: socket.socket,
    theirs: socket.socket,
    concurrency: int,
    device: Device | None,
    batching: dict[str, Any],
) -> Iterator[tuple[int, socket.socket]]:
    """Its process id and the agent's end of its control socket. It must end when `data` is closed within."""
    declaration = declared(*calls, concurrency=concurrency, **batching)
    control, their_control = wire.socket_pair()
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            data.close()
            control.close()
            served = Served(None, {call.__name__: call for call in calls}, None)
            served.routes = Routes(served.endpoints, declaration)
            message = Fork("worker", "tested.default", "v", sent_s=time.monotonic())
            Worker(message, their_control, theirs, served, 0.0, device=device).run()
            code = 0
        except (BrokenPipeError, ConnectionResetError):
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    signal.signal(signal.SIGUSR1, before)
    theirs.close()
    their_control.close()
    try:
        yield pid, control
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        data.close()
        control.close()
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the worker did not end by itself"
