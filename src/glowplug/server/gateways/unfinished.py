"""What a gateway has under way with the controller, and how that is ended for it when it dies. Pure.

Its clients are gone then. So what runs for them is stopped as if each had left, and what waits in a queue is
taken out of it. What lies in a worker's socket is not begun any more once the worker looks there again, and
must not be stopped by force, for that would hit what runs: its place is free only when it is certain that it
did not begin.
"""

from __future__ import annotations

from collections.abc import Mapping

from glowplug.control.engine import GatewayCommand
from glowplug.core.commands import Dispatch, Lease, Reject
from glowplug.core.events import (
    Event,
    LeaseReport,
    RequestArrived,
    RequestCancelled,
    RequestDone,
    RequestStarted,
)
from glowplug.core.ids import GatewayId, InstanceId, RequestId

GatewayEvent = RequestArrived | RequestStarted | RequestDone | RequestCancelled | LeaseReport


class Unfinished:
    """Of one gateway; filled by everything that it and the controller say to each other, in that order."""

    def __init__(self, gateway: GatewayId) -> None:
        self._gateway = gateway
        self._asked: dict[RequestId, InstanceId | None] = {}
        """What the controller was asked and has not done with, and where it was sent."""
        self._answered: dict[RequestId, None] = {}
        """Of those, whose answer is settled: only their workers have not done with them."""
        self._leased: dict[InstanceId, None] = {}

    def heard(self, event: GatewayEvent) -> None:
        if isinstance(event, RequestArrived):
            self._asked[event.request] = None
        elif isinstance(event, RequestDone):
            self._forget(event.request)
        elif isinstance(event, RequestCancelled):
            self._settled(event.request)
        elif isinstance(event, LeaseReport) and event.final:
            self._leased.pop(event.instance, None)

    def told(self, command: GatewayCommand) -> None:
        if isinstance(command, Dispatch):
            for request in command.requests:
                if request in self._asked:
                    self._asked[request] = command.instance
        elif isinstance(command, Lease):
            self._leased[command.instance] = None
        elif isinstance(command, Reject):
            self._settled(command.request)

    def _settled(self, request: RequestId) -> None:
        """What was sent to a worker has its place there until the worker has done with it."""
        if self._asked.get(request) is None:
            self._forget(request)
        else:
            self._answered[request] = None

    def _forget(self, request: RequestId) -> None:
        self._asked.pop(request, None)
        self._answered.pop(request, None)

    def ended(self, instance: InstanceId) -> None:
        """It holds nothing any more. What it had not begun the controller sends elsewhere, or will."""
        self._leased.pop(instance, None)
        for request in [request for request, where in self._asked.items() if where == instance]:
            if request in self._answered:
                self._forget(request)
            else:
                self._asked[request] = None

    def cut_off(self, begun: Mapping[RequestId, InstanceId]) -> list[Event]:
        """The gateway has died. `begun` are its requests that workers have begun, under leases or not."""
        return self._end(begun, is_certain=False)

    def buried(self, begun: Mapping[RequestId, InstanceId]) -> list[Event]:
        """Every worker has looked at its sockets since: what is not begun now is never."""
        events = self._end(begun, is_certain=True)
        leased, self._leased = self._leased, {}
        return [*events, *(self.given_back(instance) for instance in leased)]

    def _end(self, begun: Mapping[RequestId, InstanceId], is_certain: bool) -> list[Event]:
        asked, self._asked = self._asked, {}
        events: list[Event] = []
        for request, where in {**asked, **begun}.items():
            if where is None or request in begun:
                events.append(RequestCancelled(request=request, instance=where))
        for request, instance in asked.items():
            if instance is None:
                continue
            if request in begun or is_certain:
                events.append(_done(request, instance))
            else:
                self._asked[request] = instance
        self._answered = {request: None for request in self._answered if request in self._asked}
        return events

    def given_back(self, instance: InstanceId) -> LeaseReport:
        """Of a lease that nobody uses."""
        return LeaseReport(gateway=self._gateway, instance=instance, final=True)

    def refused(self, command: GatewayCommand) -> list[Event]:
        """What a gateway that is not there says to a command."""
        if isinstance(command, Dispatch):
            return [_done(request, command.instance) for request in command.requests]
        return [self.given_back(command.instance)] if isinstance(command, Lease) else []


def _done(request: RequestId, instance: InstanceId) -> RequestDone:
    return RequestDone(request=request, instance=instance, ok=False, took_s=0.0)
