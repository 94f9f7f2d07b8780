"""The gateway in virtual time. Its leases are the live gateway's own code."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from glowplug.control.engine import GatewayCommand
from glowplug.control.leases import LeaseTable
from glowplug.core.commands import Dispatch, Lease, Revoke
from glowplug.core.events import Event, RequestArrived, RequestDone
from glowplug.core.ids import FunctionId, GatewayId, InstanceId, RequestId
from glowplug.sim.agenda import Agenda
from glowplug.sim.engine import SimEngine


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A client's request, in a scenario. `priority` is a rank of core.priority, 0 the function's; `gateway`
    the one it comes to, of those that the simulation has."""

    function: FunctionId
    timeout_s: float = 60.0
    priority: int = 0
    gateway: int = 0


class Answer(msgspec.Struct, frozen=True, gc=False):
    """`code` is "ok" or an error's. `leased` says that the controller was not asked, `parked` that the
    request went to a worker that had climbed."""

    request: RequestId
    function: FunctionId
    asked_s: float
    latency_s: float
    code: str
    leased: bool
    parked: bool = False


class SimGateway:
    """The `number`th of `count` gateways: a request's id modulo their count says whose it is. `answers` takes
    what all of them answer."""

    def __init__(
        self,
        name: GatewayId,
        agenda: Agenda,
        engine: SimEngine,
        emit: Callable[[Event], None],
        report_every_s: float,
        answers: list[Answer],
        number: int = 0,
        count: int = 1,
    ) -> None:
        self.name = name
        self.leases = LeaseTable(name)
        self.answers = answers
        self._agenda = agenda
        self._engine = engine
        self._emit = emit
        self._report_every_s = report_every_s
        self._asked: dict[RequestId, tuple[FunctionId, float, bool]] = {}
        self._parked: set[RequestId] = set()
        self._made = number
        self._count = count
        self._report_due = False

    def ask(self, ask: Ask) -> RequestId:
        self._made += self._count
        request, now_s = RequestId(self._made), self._agenda.now_s
        instance = self.leases.take(ask.function, now_s)
        self._asked[request] = (ask.function, now_s, instance is not None)
        if instance is None:
            if self.leases.to_tell:
                self._report()
            deadline_s = now_s + ask.timeout_s
            self._emit(RequestArrived(request, ask.function, self.name, deadline_s, priority=ask.priority))
        else:
            self._dispatch((request,), ask.function, instance)
            self._report_soon()
        return request

    def _dispatch(self, requests: tuple[RequestId, ...], function: FunctionId, instance: InstanceId) -> None:
        if self._engine.is_parked(instance):
            self._parked.update(requests)
        self._engine.dispatch(requests, function, instance)

    def on_command(self, command: GatewayCommand) -> None:
        if isinstance(command, Dispatch):
            asked = [request for request in command.requests if request in self._asked]
            if asked:
                self._dispatch(tuple(asked), self._asked[asked[0]][0], command.instance)
        elif isinstance(command, Lease):
            self.leases.grant(command, self._agenda.now_s)
            self._agenda.at(command.expires_s, self._report)
        elif isinstance(command, Revoke):
            if self.leases.revoke(command.instance):
                self._report()
        else:
            self._end(command.request, command.code)

    def on_answer(self, request: RequestId, instance: InstanceId, took_s: float) -> None:
        asked = self._asked.get(request)
        if asked is not None and asked[2]:
            due = self.leases.done(instance, True, took_s, self._agenda.now_s)
            self._end(request, "ok")
            if due:
                self._report()
            else:
                self._report_soon()
            return
        self._end(request, "ok")
        self._emit(RequestDone(request, instance, True, took_s))

    def _end(self, request: RequestId, code: str) -> None:
        asked = self._asked.pop(request, None)
        if asked is not None:
            function, asked_s, leased = asked
            latency_s = self._agenda.now_s - asked_s
            parked = request in self._parked
            self._parked.discard(request)
            self.answers.append(Answer(request, function, asked_s, latency_s, code, leased, parked))

    def _report_soon(self) -> None:
        if not self._report_due:
            self._report_due = True
            self._agenda.at(self._agenda.now_s + self._report_every_s, self._report)

    def _report(self) -> None:
        self._report_due = False
        for report in self.leases.reports(self._agenda.now_s):
            self._emit(report)
        if self.leases.in_flight():
            self._report_soon()
