"""The request path: under a lease straight to a worker, else through the controller's decision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic, perf_counter

import msgspec

from glowplug.control.leases import LeaseTable
from glowplug.core.commands import Dispatch, Lease, Reject, Revoke
from glowplug.core.errors import (
    DeadlinePassed,
    GlowplugError,
    Overloaded,
    RequestCancelled,
    WorkerDied,
    from_code,
)
from glowplug.core.events import Event, RequestDone
from glowplug.core.events import RequestCancelled as RequestCancelledEvent
from glowplug.core.ids import FunctionId, GatewayId, InstanceId
from glowplug.gateway.asked import VERDICT_S, Asked
from glowplug.gateway.deadlines import Deadlines
from glowplug.gateway.flight import ALONE, Client, Flight, Known, Place, error_reply, late, new_request_ids
from glowplug.transport.connection import Body, NeverRead, Reply
from glowplug.transport.frames import RequestMeta
from glowplug.transport.gateway_side import WorkerConnections
from glowplug.transport.lent_regions import Slot

_KEPT_BODY_BYTES = 2**20
"""A body up to this size is kept until the answer, for another worker."""
_LOOK_AGAIN_S = 0.5


class Invoker:
    """Requests in flight. Used from one event loop; `post` may be called from within its calls."""

    def __init__(
        self,
        gateway: GatewayId,
        leases: LeaseTable,
        connections: WorkerConnections,
        deadlines: Deadlines,
        post: Callable[[Event], None],
        clock: Callable[[], float],
        known: Known,
        place: Place = ALONE,
    ) -> None:
        self._leases = leases
        self._connections = connections
        self._deadlines = deadlines
        self._post = post
        self._clock = clock
        self._known = known
        self._next_request = new_request_ids(clock(), place)
        self._asked = Asked(gateway, connections, deadlines, post, self._send, self._fail)
        self._fallen: dict[InstanceId, list[Flight]] = {}
        """Sent under a lease to a worker that died; the engine is about to say of what."""
        self._news = False
        self.on_news: Callable[[], None] = self.report

    def reserve(self, function: FunctionId, length: int) -> Slot | None:
        """Shared memory of the worker that a request would be sent to now, if that is known. When it is sent
        to another after all, its body is copied."""
        instance = self._leases.likely(function)
        return None if instance is None else self._connections.reserve(instance, length)

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
        """Sends the request, or asks the controller where to; the answer comes to `client`. `meta` has no
        deadline yet. The client may be told before this returns."""
        now_s = self._clock()
        flight = Flight(
            self._next_request(), function, meta, body, now_s, now_s + timeout_s, client, self.expire,
            started_at, priority,
        )  # fmt: skip
        flight.meta = RequestMeta(meta.endpoint, meta.content_type, meta.accept, monotonic() + timeout_s)
        while (instance := self._leases.take(function, now_s)) is not None:
            flight.leased = True
            if self._send(flight, instance):
                self._deadlines.set(flight, flight.deadline_s)
                return flight
            if instance in self._connections:
                self._leases.done(instance, True, 0.0, now_s)
                break
            self._leases.lost(instance)
        flight.leased = False
        if self._leases.to_tell:
            self.report()
        self._asked.ask(flight)
        return flight

    def _send(self, flight: Flight, instance: InstanceId) -> bool:
        """False when the worker had gone before anything was sent, or has no room: another way is right."""
        body = flight.body
        assert body is not None
        flight.instance = instance
        flight.dispatched_at = perf_counter()
        try:
            self._connections.send(instance, flight.request, flight.meta, body, partial(self._heard, flight))
        except (WorkerDied, Overloaded):
            flight.instance = flight.dispatched_at = None
            return False
        if type(body) is not bytes or len(body) > _KEPT_BODY_BYTES:
            flight.body = None
        return True

    def _heard(self, flight: Flight, reply: Reply | bytes) -> None:
        """What the worker says to a request that was sent, whether somebody still waits or not."""
        if type(reply) is bytes:
            if flight.streaming:
                flight.client.chunk(flight, reply)
            else:  # nobody reads any more; the worker is not to wait for them
                self.credit(flight, len(reply))
            return
        assert isinstance(reply, Reply)
        if reply.stream:
            flight.settle(reply)
            return
        error = reply.error
        if error is not None and isinstance(error, WorkerDied):
            self._died(flight, reply, error)
            return
        instance = flight.instance
        assert instance is not None
        assert flight.dispatched_at is not None
        ok = error is None or error.status < 500
        phases = reply.phases
        took_s = phases.get("compute") or phases.get("first_compute") or perf_counter() - flight.dispatched_at
        if not flight.leased:
            self._settle(flight, reply)
            self._post(RequestDone(request=flight.request, instance=instance, ok=ok, took_s=took_s))
            return
        # The slot is free before the client hears: the next request on its connection may come at once.
        is_final = self._leases.done(instance, ok, took_s, self._clock())
        self._settle(flight, reply)
        if is_final:
            self.report()
        elif not self._news:
            self._news = True
            self.on_news()

    def _died(self, flight: Flight, reply: Reply, error: WorkerDied) -> None:
        """The engine, or the controller, is about to say of what; a stream that broke off is told at once."""
        if isinstance(error, NeverRead) and flight.body is None:
            flight.body = error.body
        if flight.answered:
            self._settle(flight, reply)
        elif isinstance(error, NeverRead) and flight.body is not None and not flight.again:
            self._ask_again(flight)
        else:
            if flight.leased:
                assert flight.instance is not None
                self._fallen.setdefault(flight.instance, []).append(flight)
            asyncio.get_running_loop().call_later(VERDICT_S, self._settle, flight, reply)

    def _ask_again(self, flight: Flight) -> None:
        """A worker died before it began the request, so the controller is asked for another, once. The
        controller may drop what it had bound to the dead worker: else it would find another for that, too."""
        flight.again = True
        if not flight.leased:
            self._asked.flights.pop(flight.request, None)
            self._post(RequestCancelledEvent(request=flight.request, instance=flight.instance))
            flight.request = self._next_request()
        flight.leased, flight.instance, flight.dispatched_at = False, None, None
        flight.meta = msgspec.structs.replace(flight.meta, together=0)
        self._asked.ask(flight)

    def credit(self, flight: Flight, passed_bytes: int) -> None:
        """So many bytes of a stream were passed on to its client, so the worker may send as many more."""
        if flight.instance is not None:
            self._connections.credit(flight.instance, flight.request, passed_bytes)

    def _settle(self, flight: Flight, reply: Reply) -> None:
        self._asked.flights.pop(flight.request, None)
        if flight.slot:
            self._deadlines.drop(flight)
        flight.settle(reply)

    def leave(self, flight: Flight) -> None:
        """The client left, so nobody reads the answer."""
        self._give_up(flight, Reply(499, "", b"", {}, "", RequestCancelled("the client left")))

    def expire(self, flight: Flight) -> None:
        """The deadline passed and nobody has said so; or it is time to look after a request that was given
        up."""
        if flight.answered and not flight.streaming:
            self._stop(flight)
            return
        error = late(
            flight, f"{flight.function} did not answer before the deadline", self._known(flight.function)
        )
        self._give_up(flight, Reply(error.status, "", b"", {}, "", error))

    def _give_up(self, flight: Flight, reply: Reply) -> None:
        if flight.answered and not flight.streaming:
            return
        self._settle(flight, reply)
        self._stop(flight)

    def _stop(self, flight: Flight) -> None:
        """Nobody waits for the answer. One that was sent under a lease and that its worker has not begun is
        dropped there: to stop it by force would hit the one that runs. It may begin all the same before the
        worker reads of it, so it is looked after."""
        instance = flight.instance
        if flight.leased and instance is not None and self._connections.cancel(instance, flight.request):
            self._deadlines.set(flight, self._clock() + _LOOK_AGAIN_S)
        else:
            self._post(RequestCancelledEvent(request=flight.request, instance=instance))

    def on_command(self, command: Dispatch | Lease | Revoke | Reject) -> None:
        if isinstance(command, Dispatch):
            self._asked.dispatch(command)
        elif isinstance(command, Lease):
            self._leases.grant(command, self._clock())
        elif isinstance(command, Revoke):
            if self._leases.revoke(command.instance):
                self.report()
        else:
            self._asked.reject(command)

    def attached(self, instance: InstanceId) -> None:
        """The connection of an instance is there."""
        self._asked.attached(instance)

    def lost(self, instance: InstanceId) -> None:
        """An instance has ended: it is taken under no lease any more. The controller learns by the engine."""
        self._leases.lost(instance)
        self._asked.lost(instance)

    def ended(self, instance: InstanceId, why: str, code: str = "worker_died") -> None:
        """The engine's word on an instance's end, after its connection closed."""
        self.lost(instance)
        for flight in self._fallen.pop(instance, ()):
            self._fail(flight, from_code(code, f"the worker of {flight.function} died: {why}"))

    def _fail(self, flight: Flight, error: GlowplugError) -> None:
        if isinstance(error, DeadlinePassed):
            error = late(flight, error.message, self._known(flight.function))
        self._settle(flight, error_reply(error))

    def fallen(self) -> list[InstanceId]:
        """Instances whose end the engine has yet to explain."""
        return list(self._fallen)

    def report(self) -> None:
        """Tells the controller what was done under leases, and gives back those that are over."""
        self._news = False
        for found in self._leases.reports(self._clock()):
            self._post(found)

    def waiting(self) -> int:
        """Requests that the controller holds: queued, or dispatched without a lease."""
        return len(self._asked.flights)
