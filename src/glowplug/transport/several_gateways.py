"""A worker's ends of the wires to several gateways: WorkerEndpoint's methods over one of those for each.

The worker has one descriptor, the door, from which it takes a socket for each gateway as they come: one that
was ended and started again comes with a new one. What a gateway asked is answered on its own socket;
requests are taken from the gateways in turn. When one is gone what it had asked and has not begun is
dropped, and what runs for it is answered to nobody; whoever ends it (the server, which sees what is begun)
asks for that in the usual way. The closing of the door is the worker's end.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Iterator
from time import monotonic

from glowplug.core.errors import RequestCancelled
from glowplug.transport.begun import BegunPage
from glowplug.transport.shared_memory import (
    ANCILLARY_BYTES,
    AT_ONCE,
    CLOSE_ON_EXEC,
    descriptor_message,
    received_descriptors,
)
from glowplug.transport.unsent import Piece
from glowplug.transport.worker_answers import Body
from glowplug.transport.worker_side import STALE_S, Incoming, WorkerEndpoint

_LEFT = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR


def let_in(door: socket.socket, sock: socket.socket) -> None:
    """Gives the worker behind `door` its end of a gateway's wire, perhaps before it exists, and closes it
    here. Raises OSError when it is gone, or has too many such before it."""
    with sock:
        door.sendmsg([b"\0"], descriptor_message(sock.fileno()), AT_ONCE | socket.MSG_NOSIGNAL)


class SeveralGateways:
    """Owns `door`, a SOCK_SEQPACKET. Used as a WorkerEndpoint is, and interrupted where that may be."""

    def __init__(self, door: socket.socket) -> None:
        door.settimeout(None)
        self._door = door
        self._door_number = door.fileno()
        self._epoll = select.epoll()
        self._epoll.register(door, select.EPOLLIN)
        self._begun = BegunPage()
        self._endpoints: dict[int, WorkerEndpoint] = {}
        """By the descriptor of their socket."""
        self._turns: deque[WorkerEndpoint] = deque()
        """The next one's turn comes first."""
        self._taken: dict[int, WorkerEndpoint] = {}
        """By request, until that is answered."""
        self._read_at_s = 0.0
        self.ended = False
        """The door has closed."""

    def fileno(self) -> int:
        return self._epoll.fileno()

    @property
    def waiting(self) -> int:
        """Requests that have been read and not taken."""
        return sum(endpoint.waiting for endpoint in self._turns)

    @property
    def unsent(self) -> bool:
        """Whether something is queued that `flush` would write."""
        return any(endpoint.unsent for endpoint in self._turns)

    def receive(self) -> Incoming | None:
        """The next request, or None when the door has closed. Blocks."""
        self.refresh()
        while (incoming := self.take()) is None:
            if self.ended:
                return None
            self.flush()
            self._read(None)
        return incoming

    def refresh(self) -> None:
        """As WorkerEndpoint.refresh."""
        if self.waiting and monotonic() - self._read_at_s > STALE_S:
            self.read()

    def take(self) -> Incoming | None:
        """The next request that has been read, if there is one."""
        for endpoint in self._turns:
            incoming = endpoint.take()
            if incoming is not None:
                self._taken[incoming.request] = endpoint
                self._turns.remove(endpoint)
                self._turns.append(endpoint)
                return incoming
        return None

    def take_for(self, endpoint: str, limit: int) -> list[Incoming]:
        """At most `limit` requests for one endpoint that have been read; the others keep their order."""
        found: list[Incoming] = []
        for each in self._turns:
            more = each.take_for(endpoint, limit - len(found))
            self._taken.update((incoming.request, each) for incoming in more)
            found += more
        return found

    def waiting_for(self, endpoint: str) -> int:
        """How many requests for one endpoint have been read and not taken."""
        return sum(each.waiting_for(endpoint) for each in self._turns)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether there is something to `read`, within `timeout_s` or for ever. A handler may raise here."""
        return bool(self._epoll.poll(timeout_s))

    def read(self) -> bool:
        """Reads once what has come from each gateway, without blocking. False when nothing had."""
        return self._read(0)

    def _read(self, timeout_s: float | None) -> bool:
        found = False
        for number, events in self._epoll.poll(timeout_s):
            if number == self._door_number:
                self._open_door()
                continue
            endpoint = self._endpoints[number]
            if events & _LEFT:
                # What lies in the socket yet is wanted by nobody: it is not read, so that it is not begun.
                self._part_with(endpoint)
                continue
            with self._watching(endpoint):
                found |= endpoint.read()
                if endpoint.ended:
                    self._part_with(endpoint)
        self._read_at_s = monotonic()
        return found

    def _open_door(self) -> None:
        try:
            data, ancillary, _, _ = self._door.recvmsg(1, ANCILLARY_BYTES, AT_ONCE | CLOSE_ON_EXEC)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, ancillary = b"", []
        for descriptor in received_descriptors(ancillary):
            endpoint = WorkerEndpoint(socket.socket(fileno=descriptor), self._begun)
            self._endpoints[descriptor] = endpoint
            self._turns.append(endpoint)
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP)
        if not data:
            self.ended = True

    def _part_with(self, endpoint: WorkerEndpoint) -> None:
        """Its gateway is gone. What user code holds of its bodies stays."""
        number = endpoint.fileno()
        self._epoll.unregister(number)
        del self._endpoints[number]
        self._turns.remove(endpoint)
        for request in [request for request, other in self._taken.items() if other is endpoint]:
            del self._taken[request]
        endpoint.close()

    def _answered(self, request: int) -> WorkerEndpoint | None:
        """Whose gateway gets this last answer, or None: then nobody does."""
        endpoint = self._taken.pop(request, None)
        if endpoint is None:
            self._begun.done(request)
        return endpoint

    def reply(
        self,
        request: int,
        status: int,
        content_type: str,
        body: Body,
        phases: dict[str, float] | None = None,
        origin: str = "",
    ) -> None:
        """As WorkerEndpoint.reply; to nobody when its gateway is gone."""
        endpoint = self._answered(request)
        if endpoint is not None:
            with self._watching(endpoint):
                endpoint.reply(request, status, content_type, body, phases, origin)

    def error(
        self,
        request: int,
        code: str,
        message: str,
        field: str | None = None,
        phases: dict[str, float] | None = None,
    ) -> None:
        """As WorkerEndpoint.error; to nobody when its gateway is gone."""
        endpoint = self._answered(request)
        if endpoint is not None:
            with self._watching(endpoint):
                endpoint.error(request, code, message, field, phases)

    def begin(
        self, request: int, content_type: str, phases: dict[str, float] | None = None, origin: str = ""
    ) -> None:
        """As WorkerEndpoint.begin; for nobody when its gateway is gone."""
        endpoint = self._taken.get(request)
        if endpoint is not None:
            with self._watching(endpoint):
                endpoint.begin(request, content_type, phases, origin)

    def chunk(self, request: int, data: Piece) -> int:
        """As WorkerEndpoint.chunk. Raises RequestCancelled when its gateway is gone."""
        endpoint = self._taken.get(request)
        if endpoint is not None:
            with self._watching(endpoint):
                return endpoint.chunk(request, data)
        raise RequestCancelled("the gateway that asked is gone")

    def end(self, request: int, phases: dict[str, float] | None = None) -> None:
        """As WorkerEndpoint.end; for nobody when its gateway is gone."""
        endpoint = self._answered(request)
        if endpoint is not None:
            with self._watching(endpoint):
                endpoint.end(request, phases)

    def flush(self) -> None:
        """Writes what is queued. What a signal handler raises meanwhile is raised after that."""
        for endpoint in list(self._turns):
            if endpoint.unsent:
                with self._watching(endpoint):
                    endpoint.flush()

    @contextlib.contextmanager
    def _watching(self, endpoint: WorkerEndpoint) -> Iterator[None]:
        """A gateway that turns out to be gone is none of the others' business."""
        try:
            yield
        except (BrokenPipeError, ConnectionResetError):
            self._part_with(endpoint)

    def close(self) -> None:
        """Writes what is queued, if it can be, and closes the sockets and the regions."""
        for endpoint in self._turns:
            endpoint.close()
        self._turns.clear()
        self._endpoints.clear()
        self._epoll.close()
        self._door.close()
        self._begun.close()
