"""The gateway's end of every worker's wire."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

from glowplug.core.bodies import MAX_BODY_BYTES
from glowplug.core.errors import WorkerDied
from glowplug.core.ids import InstanceId, RequestId
from glowplug.transport.connection import Body, Connection, OnAnswer, Reply
from glowplug.transport.frames import RequestMeta
from glowplug.transport.lent_regions import Slot

__all__ = ["Body", "OnAnswer", "Reply", "WorkerConnections"]


def _ignore(instance: InstanceId, why: str) -> None:
    pass


class WorkerConnections:
    """Connections by instance, used from one event loop.

    A connection is attached when its instance begins to climb: requests wait in the socket until the worker
    reads. `on_lost(instance, why)` is called once when a connection ends, before its requests are answered.
    """

    def __init__(
        self,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_in_flight: int = 256,
        max_unsent_bytes: int = 64 * 2**20,
        on_lost: Callable[[InstanceId, str], None] = _ignore,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_in_flight = max_in_flight
        self._max_unsent_bytes = max_unsent_bytes
        self.on_lost = on_lost
        self._connections: dict[InstanceId, Connection] = {}

    def __contains__(self, instance: InstanceId) -> bool:
        return instance in self._connections

    def __iter__(self) -> Iterator[InstanceId]:
        return iter(list(self._connections))

    def __len__(self) -> int:
        return len(self._connections)

    def attach(self, instance: InstanceId, sock: socket.socket) -> None:
        """Takes over `sock`, one end of a stream socket pair, whose other end is the worker's."""
        if instance in self._connections:
            raise ValueError(f"instance {instance} is attached already")
        self._connections[instance] = Connection(
            instance, sock, self._lost, self._max_body_bytes, self._max_in_flight, self._max_unsent_bytes
        )

    def detach(self, instance: InstanceId, why: str = "its process ended") -> None:
        """Closes what is left of the connection; answers that came in time are delivered first."""
        connection = self._connections.get(instance)
        if connection is not None:
            connection.drain_and_close(why)

    def send(
        self, instance: InstanceId, request: RequestId, meta: RequestMeta, body: Body, on_answer: OnAnswer
    ) -> None:
        """Sends a request; `on_answer` gets the answer, or one whose error is WorkerDied, from the loop.

        Raises WorkerDied when there is no such worker, Overloaded when it has too much waiting; then nothing
        was sent and `on_answer` will not be called.
        """
        connection = self._connections.get(instance)
        if connection is None:
            raise WorkerDied(f"instance {instance} has ended")
        connection.send(request, meta, body, on_answer)

    def reserve(self, instance: InstanceId, length: int) -> Slot | None:
        """Shared memory to read a body into that is to be sent to this worker; None when there is none."""
        connection = self._connections.get(instance)
        return None if connection is None else connection.reserve(length)

    async def call(self, instance: InstanceId, request: RequestId, meta: RequestMeta, body: bytes) -> Reply:
        """As `send`; returns the answer or raises its error. Cancelling stops the waiting, not the worker.
        A stream's answer is its beginning."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def take(reply: Reply | bytes) -> None:
            if isinstance(reply, Reply) and not answer.done():
                answer.set_result(reply)

        self.send(instance, request, meta, body, take)
        reply = await answer
        if reply.error is not None:
            raise reply.error
        return reply

    def credit(self, instance: InstanceId, request: RequestId, passed_bytes: int) -> None:
        """So many bytes of a stream have gone on to the client: the worker may send as many more."""
        connection = self._connections.get(instance)
        if connection is not None:
            connection.credit(request, passed_bytes)

    def cancel(self, instance: InstanceId, request: RequestId) -> bool:
        """Has a request dropped that its worker has not begun. False when it has, or may have."""
        connection = self._connections.get(instance)
        return connection is not None and connection.cancel(request)

    def has_begun(self, instance: InstanceId, request: RequestId) -> bool:
        """Whether a worker that is attached has begun a request, whoever sent it."""
        connection = self._connections.get(instance)
        return connection is not None and connection.has_begun(request)

    def in_flight(self, instance: InstanceId) -> int:
        connection = self._connections.get(instance)
        return 0 if connection is None else connection.in_flight

    def _lost(self, instance: InstanceId, why: str) -> None:
        self._connections.pop(instance, None)
        self.on_lost(instance, why)

    def close(self) -> None:
        """Closes every connection; their requests are answered with WorkerDied."""
        for connection in list(self._connections.values()):
            connection.drain_and_close("the gateway closed")
