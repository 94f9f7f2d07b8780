"""A gateway without HTTP: requests are numbers, answers are told to it."""

from __future__ import annotations

from collections.abc import Callable

from glowplug.control.engine import GatewayCommand
from glowplug.control.leases import LeaseTable
from glowplug.core.commands import Dispatch, Lease, Reject, Revoke
from glowplug.core.events import Event, RequestArrived, RequestCancelled, RequestDone, RequestStarted
from glowplug.core.ids import FunctionId, GatewayId, InstanceId, RequestId


class FakeGateway:
    """Uses leases as a real gateway does.

    `outcomes` says how each request ended: "done", "cancelled" or an error's code.
    """

    def __init__(self, name: GatewayId, emit: Callable[[Event], None], clock: Callable[[], float]) -> None:
        self.name = name
        self.leases = LeaseTable(name)
        self.outcomes: dict[RequestId, str] = {}
        self.running: dict[RequestId, InstanceId] = {}
        self.waiting: dict[RequestId, FunctionId] = {}
        self._leased: set[RequestId] = set()
        self._emit = emit
        self._clock = clock

    def ask(
        self, request: RequestId, function: FunctionId, timeout_s: float = 30.0, priority: int = 0
    ) -> None:
        """A client's request, sent under a lease when there is one."""
        now_s = self._clock()
        instance = self.leases.take(function, now_s)
        if instance is not None:
            self._leased.add(request)
            self.running[request] = instance
            return
        if self.leases.to_tell:
            self.report()
        self.waiting[request] = function
        self._emit(RequestArrived(request, function, self.name, now_s + timeout_s, 0, priority))

    def finish(self, request: RequestId, *, ok: bool = True, took_s: float = 0.05) -> None:
        """The worker answered."""
        instance = self.running.pop(request)
        if request in self._leased:
            self._leased.discard(request)
            self._end(request, "done")
            if self.leases.done(instance, ok, took_s, self._clock()):
                self.report()
            return
        self._end(request, "done")
        self._emit(RequestDone(request, instance, ok, took_s))

    def start(self, request: RequestId) -> None:
        if request in self.running and request not in self._leased:
            self._emit(RequestStarted(request, self.running[request]))

    def cancel(self, request: RequestId) -> None:
        """The client left. Under a lease the gateway lets the worker finish by itself."""
        if request in self._leased or request in self.outcomes:
            return
        self._end(request, "cancelled")
        self._emit(RequestCancelled(request))

    def lose(self, instance: InstanceId) -> None:
        """The connection to a worker broke."""
        self.leases.lost(instance)
        for request, where in list(self.running.items()):
            if where == instance:
                del self.running[request]
                if request in self._leased:
                    self._leased.discard(request)
                    self._end(request, "worker_died")

    def report(self) -> None:
        for report in self.leases.reports(self._clock()):
            self._emit(report)

    def on_command(self, command: GatewayCommand) -> None:
        if isinstance(command, Dispatch):
            for request in command.requests:
                self.waiting.pop(request, None)
                self.running[request] = command.instance
        elif isinstance(command, Lease):
            self.leases.grant(command, self._clock())
        elif isinstance(command, Revoke):
            if self.leases.revoke(command.instance):
                self.report()
        elif isinstance(command, Reject):
            # A worker that has it answers all the same, or ends.
            self._end(command.request, command.code)

    def _end(self, request: RequestId, outcome: str) -> None:
        self.waiting.pop(request, None)
        if outcome != "done" or request not in self.outcomes:
            if request in self.outcomes:
                raise AssertionError(f"request {request} ended as {self.outcomes[request]} and {outcome}")
            self.outcomes[request] = outcome
