"""Runs a scenario through the controller in virtual time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from glowplug.control.state import ControlState
from glowplug.core.commands import ClearTimer, Command, Dispatch, Lease, Reject, Revoke, SetTimer
from glowplug.core.events import Event, TimerFired
from glowplug.core.ids import FunctionId, GatewayId, InstanceId, RequestId
from glowplug.core.settings import ControlSettings
from glowplug.sim.agenda import Action, Agenda
from glowplug.sim.engine import SimEngine
from glowplug.sim.faults import Disappears, Fault, LoadsFail, LosesMemory, Slows
from glowplug.sim.gateway import Answer, Ask, SimGateway
from glowplug.sim.profile import Profile


class SimResult(msgspec.Struct):
    """What happened, in order; times are virtual seconds."""

    events: list[tuple[float, Event]]
    commands: list[tuple[float, Command]]
    answers: list[Answer]


class Simulation:
    """One controller, `gateways` beside each other, nodes as the scenario's NodeJoined events say.

    `profiles` has an entry for every function of the scenario. With `keep_log=False` neither events nor
    commands are kept, for runs of millions. With `shares_disks` loads that read at the same time at a node
    share its disk; else each has it to itself.
    """

    def __init__(
        self,
        profiles: dict[FunctionId, Profile],
        settings: ControlSettings | None = None,
        *,
        seed: int = 0,
        report_every_s: float = 0.2,
        keep_log: bool = True,
        gateways: int = 1,
        shares_disks: bool = False,
    ) -> None:
        self.state = ControlState(settings)
        self.agenda = Agenda()
        known = self.state.context.settings
        self._engine = SimEngine(
            self.agenda, profiles, seed, known.keeps_loaded, shares_disks, known.shares_weights
        )
        answers: list[Answer] = []
        self._gateways = [
            SimGateway(
                GatewayId(f"sim-{number}" if number else "sim"), self.agenda, self._engine, self.post,
                report_every_s, answers, number, gateways,
            )
            for number in range(gateways)
        ]  # fmt: skip
        self._named = {gateway.name: gateway for gateway in self._gateways}
        self._engine.on_answer = self._on_answer
        self._engine.connect(self.post)
        self._timers: dict[str, int] = {}
        self._pending: deque[Event] = deque()
        self._draining = False
        self._keep_log = keep_log
        self._carry_out: dict[type, Callable[[Any], None]] = {
            SetTimer: self._set_timer, ClearTimer: self._clear_timer,
            **dict.fromkeys((Dispatch, Lease, Revoke, Reject), self._to_gateway),
        }  # fmt: skip
        self._result = SimResult([], [], answers)

    @property
    def loading_s(self) -> float:
        """Of all climbs so far, whoever asked for them (SimEngine.loading_s)."""
        return self._engine.loading_s

    @property
    def found_loaded(self) -> int:
        return self._engine.found_loaded

    def run(self, scenario: Iterable[tuple[float, Event | Ask | Fault]], until_s: float) -> SimResult:
        """Plays `scenario` (times in any order) until `until_s`. Can be called again to go on."""
        self.agenda.plan((at_s, self._played(item)) for at_s, item in scenario)
        self.agenda.run(until_s)
        return self._result

    def run_until(self, condition: Callable[[ControlState], bool], limit_s: float) -> None:
        """Goes on until `condition` holds, which is asked before each thing that happens: for a scenario of
        somebody who waits for what was asked for. Raises TimeoutError when that takes over `limit_s`.
        """
        end_s = self.agenda.now_s + limit_s
        while not condition(self.state):
            if not self.agenda.step(end_s):
                raise TimeoutError(f"after {limit_s:g} virtual seconds the condition does not hold")

    def _played(self, item: Event | Ask | Fault) -> Action:
        if isinstance(item, Ask):
            return partial(self._gateways[item.gateway].ask, item)
        if isinstance(item, (LoadsFail, Slows, LosesMemory, Disappears)):
            return partial(item.strike, self._engine, self.post)
        return partial(self.post, item)

    def _on_answer(self, request: RequestId, instance: InstanceId, took_s: float) -> None:
        self._gateways[request % len(self._gateways)].on_answer(request, instance, took_s)

    def _to_gateway(self, command: Dispatch | Lease | Revoke | Reject) -> None:
        self._named[command.gateway].on_command(command)

    def post(self, event: Event) -> None:
        """As the live driver: one event after another, also when one comes while another is handled."""
        if self._draining:
            self._pending.append(event)
            return
        self._draining = True
        try:
            self._handle(event)
            while self._pending:
                self._handle(self._pending.popleft())
        finally:
            self._draining = False

    def _handle(self, event: Event) -> None:
        now_s = self.agenda.now_s
        commands = self.state.handle(event, now_s)
        if self._keep_log:
            self._result.events.append((now_s, event))
            self._result.commands.extend((now_s, command) for command in commands)
        carry_out, submit = self._carry_out, self._engine.submit
        for command in commands:
            carry_out.get(type(command), submit)(command)

    def _clear_timer(self, command: ClearTimer) -> None:
        self._timers.pop(command.key, None)

    def _set_timer(self, command: SetTimer) -> None:
        key = command.key

        def fire() -> None:
            if self._timers.get(key) == entry:
                del self._timers[key]
                self.post(TimerFired(key))

        entry = self.agenda.at(command.at_s, fire)
        self._timers[key] = entry
