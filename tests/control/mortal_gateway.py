"""A gateway in a process of its own, which dies and is cleared up after, as the server does it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from glowplug.control.engine import GatewayCommand
from glowplug.control.leases import LeaseTable
from glowplug.core.events import Event
from glowplug.core.ids import FunctionId, GatewayId, InstanceId, RequestId
from glowplug.server.gateways.unfinished import Unfinished
from glowplug.testing.fake_gateway import FakeGateway


class MortalGateway(FakeGateway):
    def __init__(self, name: GatewayId, emit: Callable[[Event], None], clock: Callable[[], float]) -> None:
        super().__init__(name, self._say, clock)
        self.state: Literal["alive", "dead", "absent"] = "alive"
        self._post = emit
        self._unfinished = Unfinished(name)
        self._had: dict[RequestId, InstanceId] = {}
        self._asked: set[RequestId] = set()

    def _say(self, event: Event) -> None:
        self._unfinished.heard(event)  # type: ignore[arg-type]
        self._post(event)

    def ask(
        self, request: RequestId, function: FunctionId, timeout_s: float = 30.0, priority: int = 0
    ) -> None:
        if self.state == "alive":
            self._asked.add(request)
            super().ask(request, function, timeout_s, priority)
        else:
            self.outcomes[request] = "nobody listens"

    def lose(self, instance: InstanceId) -> None:
        self._unfinished.ended(instance)
        self._had = {request: where for request, where in self._had.items() if where != instance}
        super().lose(instance)

    def on_command(self, command: GatewayCommand) -> None:
        if self.state == "absent":
            for event in self._unfinished.refused(command):
                self._post(event)
            return
        self._unfinished.told(command)
        if self.state == "alive":
            super().on_command(command)

    def die(self, begun: Collection[RequestId]) -> None:
        """Of what it had in workers they have `begun` these."""
        self.state = "dead"
        self._had = dict(self.running)
        for request in self._asked - self.outcomes.keys():
            self.outcomes[request] = "its gateway died"
        self.waiting.clear()
        self.running.clear()
        self._leased.clear()
        self.leases = LeaseTable(self.name)
        for event in self._unfinished.cut_off(self._only(begun)):
            self._post(event)

    def bury(self, begun: Collection[RequestId]) -> None:
        events = self._unfinished.buried(self._only(begun))
        self.state = "absent"
        for event in events:
            self._post(event)

    def rise(self) -> None:
        self.state = "alive"

    def _only(self, begun: Collection[RequestId]) -> dict[RequestId, InstanceId]:
        return {request: where for request, where in self._had.items() if request in begun}
