"""A gateway as the rest of the server sees it: a port for the controller's commands, and a graceful end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial

from glowplug.control.leases import LeaseTable
from glowplug.core.commands import Dispatch, Lease, Reject, Revoke
from glowplug.core.errors import Unavailable
from glowplug.core.events import Event
from glowplug.core.ids import FunctionId, GatewayId, InstanceId
from glowplug.core.settings import GatewaySettings
from glowplug.core.status import RequestTrace
from glowplug.gateway.deadlines import Deadlines
from glowplug.gateway.flight import ALONE, Client, Flight, Known, Place
from glowplug.gateway.invoke import Invoker
from glowplug.gateway.metrics import Metrics
from glowplug.gateway.phases import TraceRing, join_phases, origin_of
from glowplug.transport.connection import Body, Reply
from glowplug.transport.frames import RequestMeta
from glowplug.transport.gateway_side import WorkerConnections
from glowplug.transport.lent_regions import Slot

_LOOK_AFTER_LEASES_S = 1.0
_GAUGES = {
    "glowplug_gateways": "Processes that answer requests for functions.",
    "glowplug_gateway_active_requests": "Requests being answered.",
    "glowplug_gateway_connections": "Connections of clients.",
    "glowplug_gateway_tasks": "Tasks of the event loops.",
    "glowplug_gateway_waiting_requests": "Requests that the controller holds.",
}


def _ignore(instance: InstanceId) -> None:
    pass


class Gateway:
    """Takes requests of any protocol, in one event loop, from `start` until `drain`.

    `post` hands an event to the controller; `known` says what is deployed; `clock` gives epoch seconds.
    `place` is its own among those beside it; `connections` are given where they are of a special kind.
    """

    def __init__(
        self,
        gateway: GatewayId,
        settings: GatewaySettings,
        *,
        leases: LeaseTable,
        known: Known,
        post: Callable[[Event], None],
        clock: Callable[[], float],
        place: Place = ALONE,
        connections: WorkerConnections | None = None,
    ) -> None:
        self.id = gateway
        self.settings = settings
        self.known = known
        self.clock = clock
        self.metrics = Metrics(clock, is_known=lambda function: known(FunctionId(function)) is not None)
        self.traces = TraceRing(settings.traces_kept)
        self.connections = WorkerConnections(settings.max_body_bytes) if connections is None else connections
        self.connections.on_lost = self._on_lost
        self.deadlines = Deadlines(clock)
        self._leases = leases
        self.invoker = Invoker(gateway, leases, self.connections, self.deadlines, post, clock, known, place)
        self.invoker.on_news = partial(self._report_within, settings.report_every_s)
        self.more_gauges: Callable[[], dict[str, tuple[str, float]]] = dict
        """Of what is answered through this gateway: name -> (help, value)."""
        self.beside: Callable[[], Sequence[dict[str, float]]] = tuple
        """What the gateways beside this one have to do at this moment: of each, by the names in `gauges`."""
        self.on_lost: Callable[[InstanceId], None] = _ignore
        """Told of each connection to an instance that has ended."""
        self.draining = False
        self.connected = 0
        """Connections of clients."""
        self.active = 0
        """Requests being answered."""
        self._idle = asyncio.Event()
        self._report_timer: asyncio.TimerHandle | None = None

    def on_command(self, command: Dispatch | Lease | Revoke | Reject) -> None:
        """The controller's port (control.engine.GatewayPort)."""
        self.invoker.on_command(command)
        if isinstance(command, Lease):
            self._report_within(_LOOK_AFTER_LEASES_S)

    def attach(self, instance: InstanceId, sock: socket.socket) -> None:
        """An instance begins to climb; `sock` is this end of its data socket, owned from here on."""
        self.connections.attach(instance, sock)
        self.invoker.attached(instance)

    def detach(self, instance: InstanceId, why: str = "its process ended", code: str = "worker_died") -> None:
        """An instance has ended. Answers that it sent in time are delivered; `code` is for the others."""
        self.connections.detach(instance, why)
        self.invoker.ended(instance, why, code)

    def detach_all(self, why: str) -> None:
        """Every instance has ended."""
        for instance in {*self.connections, *self.invoker.fallen()}:
            self.detach(instance, why)

    def _on_lost(self, instance: InstanceId, why: str) -> None:
        self.invoker.lost(instance)
        self.on_lost(instance)

    def _report_within(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        if self._report_timer is not None:
            if self._report_timer.when() <= due:
                return
            self._report_timer.cancel()
        self._report_timer = loop.call_at(due, self._report)

    def _report(self) -> None:
        """News is told in batches; while leases are held, their ends are looked after now and then."""
        self._report_timer = None
        self.invoker.report()
        if self._leases.held():
            self._report_within(_LOOK_AFTER_LEASES_S)

    def reserve(self, function: FunctionId, length: int) -> Slot | None:
        """Shared memory to read a body of `length` bytes into that is to be sent to a function: perhaps where
        its worker reads it. None when it has to be read otherwise."""
        return self.invoker.reserve(function, length)

    def begin(
        self,
        function: FunctionId,
        meta: RequestMeta,
        body: Body,
        timeout_s: float,
        client: Client,
        priority: int,
        started_at: float,
    ) -> Flight:
        """Starts a request that came at `started_at` of perf_counter(); see Invoker.begin. Raises Unavailable
        while draining. `finish` and `released` must follow."""
        if self.draining:
            raise Unavailable("the server is shutting down", 1.0)
        self.active += 1
        return self.invoker.begin(function, meta, body, timeout_s, client, priority, started_at)

    def finish(self, flight: Flight, reply: Reply, total_s: float) -> tuple[dict[str, float], str]:
        """Records an answered request; returns its phases in seconds and its origin."""
        phases = join_phases(total_s, flight.queue_s, reply.phases)
        origin = reply.origin or origin_of(reply.phases)
        if flight.instance is None:
            origin = ""
        self.metrics.answered(flight.function, reply.status, total_s, origin, phases)
        self.traces.add(
            RequestTrace(
                request=flight.request,
                function=flight.function,
                endpoint=flight.meta.endpoint,
                started_s=flight.arrived_s,
                total_s=total_s,
                status=reply.status,
                origin=origin,
                phases=phases,
                instance=flight.instance or 0,
            )
        )
        return phases, origin

    def busy(self) -> dict[str, float]:
        """What this gateway has to do at this moment, by the names of gauges."""
        return {
            "glowplug_gateways": 1,
            "glowplug_gateway_active_requests": self.active,
            "glowplug_gateway_connections": self.connected,
            "glowplug_gateway_tasks": len(asyncio.all_tasks()),
            "glowplug_gateway_waiting_requests": self.invoker.waiting(),
        }

    def gauges(self) -> dict[str, tuple[str, float]]:
        """What this gateway and those beside it have to do: name -> (help, value)."""
        all_of_them = (self.busy(), *self.beside())
        summed = {
            name: (text, sum(busy.get(name, 0) for busy in all_of_them)) for name, text in _GAUGES.items()
        }
        return {**summed, **self.more_gauges()}

    def released(self) -> None:
        """The answer of a request that `begin` started was written, or given up."""
        self.active -= 1
        if self.draining and self.active == 0:
            self._idle.set()

    async def drain(self) -> bool:
        """Refuses new requests, waits up to `settings.drain_s` for the others; True when all ended."""
        self.draining = True
        if not self.active:
            self._idle.set()
        try:
            await asyncio.wait_for(self._idle.wait(), self.settings.drain_s)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Reports what is left to report and closes every connection."""
        self.draining = True
        self.connections.close()
        self.invoker.report()
        self.deadlines.close()
        if self._report_timer is not None:
            self._report_timer.cancel()
