"""Requests that the controller decides about: it is asked where to send each, and says so or refuses it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from glowplug.core.commands import Dispatch, Reject
from glowplug.core.errors import GlowplugError, Overloaded, from_code
from glowplug.core.events import Event, RequestArrived, RequestDone, RequestStarted
from glowplug.core.ids import GatewayId, InstanceId, RequestId
from glowplug.gateway.deadlines import Deadlines
from glowplug.gateway.flight import Flight
from glowplug.transport.gateway_side import WorkerConnections
from glowplug.transport.lent_regions import Slot

VERDICT_S = 5.0
"""How long after a deadline, or a worker's death, the controller's word is waited for before the gateway
answers by itself: the controller knows why a climb failed, the socket only that it ended."""


class Asked:
    """Of one gateway. `send` gives a flight to a worker, and is False when that cannot be; `fail` answers it
    with an error."""

    def __init__(
        self,
        gateway: GatewayId,
        connections: WorkerConnections,
        deadlines: Deadlines,
        post: Callable[[Event], None],
        send: Callable[[Flight, InstanceId], bool],
        fail: Callable[[Flight, GlowplugError], None],
    ) -> None:
        self._gateway = gateway
        self._connections = connections
        self._deadlines = deadlines
        self._post = post
        self._send = send
        self._fail = fail
        self.flights: dict[RequestId, Flight] = {}
        """Without an answer: who answers one takes it out."""
        self._early: dict[InstanceId, list[Flight]] = {}
        """Dispatched to an instance before its connection came."""

    def ask(self, flight: Flight) -> None:
        """The controller watches the deadline of what it is asked for; ours is the net below."""
        body = flight.body
        assert body is not None
        if type(body) is Slot:  # it may wait for long, and who has it then is not known
            body = flight.body = body.to_bytes()
        self.flights[flight.request] = flight
        self._deadlines.set(flight, flight.deadline_s + VERDICT_S)
        self._post(
            RequestArrived(
                request=flight.request,
                function=flight.function,
                gateway=self._gateway,
                deadline_s=flight.deadline_s,
                body_bytes=sum(map(len, body)) if type(body) is list else len(body),
                priority=flight.priority,
            )
        )

    def dispatch(self, command: Dispatch) -> None:
        instance = command.instance
        if len(command.requests) > 1:
            self._join(command.requests)
        for request in command.requests:
            flight = self.flights.get(request)
            if flight is None or flight.instance is not None:
                # It was answered while the controller decided; the slot it was given is free again.
                self._post(RequestDone(request=request, instance=instance, ok=False, took_s=0.0))
            elif self._send(flight, instance):
                self._post(RequestStarted(request=request, instance=instance))
            elif instance in self._connections:
                error = Overloaded(f"the worker of {flight.function} has too much to read", 1.0)
                self._fail(flight, error)
                self._post(RequestDone(request=request, instance=instance, ok=False, took_s=0.0))
            else:
                self._early.setdefault(instance, []).append(flight)

    def _join(self, requests: tuple[RequestId, ...]) -> None:
        """These are one batch, so each says how many others its worker is to wait for."""
        flights = [flight for flight in map(self.flights.get, requests) if flight and flight.instance is None]
        together = Counter(flight.meta.endpoint for flight in flights)
        for flight in flights:
            flight.meta = msgspec.structs.replace(flight.meta, together=together[flight.meta.endpoint])

    def reject(self, command: Reject) -> None:
        flight = self.flights.get(command.request)
        if flight is not None:
            self._fail(flight, from_code(command.code, command.message, command.retry_after_s))

    def attached(self, instance: InstanceId) -> None:
        """Sends what was dispatched to an instance before its connection came."""
        for flight in self._early.pop(instance, ()):
            if not flight.answered and self._send(flight, instance):
                self._post(RequestStarted(request=flight.request, instance=instance))
            else:
                self._post(RequestDone(request=flight.request, instance=instance, ok=False, took_s=0.0))

    def lost(self, instance: InstanceId) -> None:
        """An instance has ended; the controller learns of what was dispatched to it by the engine."""
        self._early.pop(instance, None)
