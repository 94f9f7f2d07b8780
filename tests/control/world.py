"""The controller with a fake engine and fake gateways, in a time that is told to move."""

from __future__ import annotations

from collections import deque

from glowplug.control.state import ControlState
from glowplug.core.commands import ClearTimer, Command, Dispatch, Lease, Reject, Revoke, SetTimer, Target
from glowplug.core.events import (
    CommandFailed,
    Deployed,
    DeviceLost,
    Event,
    InstanceExited,
    NodeJoined,
    NodeLost,
    RequestDone,
    StepLost,
    TimerFired,
)
from glowplug.core.ids import (
    DeviceId,
    EnvironmentId,
    FunctionId,
    GatewayId,
    InstanceId,
    NodeId,
    PackagesId,
    RequestId,
    VersionId,
)
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, Declaration, FunctionSpec, NodeSpec
from glowplug.testing.clock import FakeClock
from glowplug.testing.fake_engine import FakeEngine
from glowplug.testing.fake_gateway import FakeGateway

NODE = NodeId("here")
SETTINGS = ControlSettings(
    environment_estimate_bytes=1000, reserve_margin_bytes=10, reserve_factor=1.0, eager_stage=False
)
FACTS = BundleFacts(weight_bytes=500, staged_bytes=90, parked_bytes=90, peak_bytes=190, pack="model")


def spec(
    name: str = "f", version: str = "1", environment: str = "e", packages: str = "", **declared: object
) -> FunctionSpec:
    declared.setdefault("memory_bytes", 300)
    declaration = Declaration(name=name, kind="model", module="m", qualname="M", **declared)  # type: ignore[arg-type]
    return FunctionSpec(
        function=FunctionId(f"{name}.default"),
        version=VersionId(f"{name}-v{version}"),
        namespace="default",
        environment=EnvironmentId(environment),
        upload="u",
        declaration=declaration,
        packages=PackagesId(packages),
    )


class World:
    """Validates the state after every event."""

    def __init__(
        self,
        settings: ControlSettings = SETTINGS,
        budget_bytes: int = 10_000,
        gateways: int = 1,
        node: bool = True,
        began_s: float = 1000.0,
    ) -> None:
        self.clock = FakeClock(began_s)
        self.state = ControlState(settings)
        self.engine = FakeEngine(facts=FACTS)
        self.engine.connect(self.post)
        self.gateways = {
            GatewayId(f"g{n}"): FakeGateway(GatewayId(f"g{n}"), self.post, self.clock)
            for n in range(gateways)
        }
        self.timers: dict[str, float] = {}
        self.events: list[tuple[float, Event]] = []
        self.commands: list[Command] = []
        self._pending: deque[Event] = deque()
        self._draining = False
        self.asked = 0
        if node:
            self.post(NodeJoined(NodeSpec(NODE, budget_bytes, 2)))

    @property
    def gateway(self) -> FakeGateway:
        return self.gateways[GatewayId("g0")]

    def post(self, event: Event) -> list[Command]:
        """The commands of this event and of those it led to at once."""
        self._pending.append(event)
        if self._draining:
            return []
        self._draining = True
        count = len(self.commands)
        try:
            while self._pending:
                self._handle(self._pending.popleft())
        finally:
            self._draining = False
        return self.commands[count:]

    def _handle(self, event: Event) -> None:
        if isinstance(event, InstanceExited):
            self._break_connections(event.instance)
        elif isinstance(event, (StepLost, CommandFailed)) and event.target.kind == "instance":
            self._break_connections(InstanceId(int(event.target.key)))
        elif isinstance(event, RequestDone):
            for gateway in self.gateways.values():
                gateway.running.pop(event.request, None)
        self.events.append((self.clock.now_s, event))
        commands = self.state.handle(event, self.clock.now_s)
        self.state.validate()
        for command in commands:
            self.commands.append(command)
            if isinstance(command, SetTimer):
                self.timers[command.key] = command.at_s
            elif isinstance(command, ClearTimer):
                del self.timers[command.key]
            elif isinstance(command, (Dispatch, Lease, Revoke, Reject)):
                self.gateways[command.gateway].on_command(command)
            else:
                self.engine.submit(command)

    def _break_connections(self, instance: InstanceId) -> None:
        for gateway in self.gateways.values():
            gateway.lose(instance)

    def lose_node(self, node: NodeId = NODE) -> None:
        self.engine.forget(node)
        for instance in list(self.state.context.store.instances.values()):
            if instance.node == node:
                self._break_connections(instance.id)
        self.post(NodeLost(node, "unplugged"))

    def forget_device(self, device: DeviceId) -> None:
        """All that was on it or on its way there is gone with it."""
        for instance in list(self.state.context.store.instances.values()):
            if instance.device == device:
                self.engine.drop(Target("instance", instance.node, str(instance.id)))
                self._break_connections(instance.id)

    def lose_device(self, device: DeviceId) -> None:
        self.forget_device(device)
        self.post(DeviceLost(device, "it fell off the bus"))

    def advance(self, seconds: float) -> None:
        """Moves time on and fires every timer on the way, at its time."""
        end_s = self.clock.now_s + seconds
        while self.timers:
            key = min(self.timers, key=lambda k: (self.timers[k], k))
            if self.timers[key] > end_s:
                break
            self.clock.now_s = max(self.clock.now_s, self.timers.pop(key))
            self.post(TimerFired(key))
        self.clock.now_s = end_s

    def deploy(self, *specs: FunctionSpec, built: bool = True) -> None:
        for one in specs:
            self.post(Deployed(one, FACTS if built else None))

    def ask(
        self, name: str = "f", timeout_s: float = 30.0, gateway: str = "g0", priority: int = 0
    ) -> RequestId:
        self.asked += 1
        request = RequestId(self.asked)
        self.gateways[GatewayId(gateway)].ask(request, FunctionId(f"{name}.default"), timeout_s, priority)
        return request

    def answer(self, request: RequestId) -> None:
        """Everything pending goes well, then the worker answers."""
        self.engine.answer_all()
        self.gateway.finish(request)

    def parked(self, one: FunctionSpec) -> InstanceId:
        """Deploys and parks it, by one request."""
        self.deploy(one)
        request = self.ask(one.declaration.name)
        self.engine.answer_all()
        instance = self.gateway.running[request]
        self.gateway.finish(request)
        return instance

    def standing(self, name: str = "f") -> Step:
        return self.state.standing(FunctionId(f"{name}.default"))

    def outcome(self, request: RequestId) -> str | None:
        return self.gateway.outcomes.get(request)


def kinds(commands: list[Command]) -> list[str]:
    """Names of commands, a climb's or descent's with its target's kind; timers left out."""
    names = []
    for command in commands:
        if not isinstance(command, (SetTimer, ClearTimer)):
            target = getattr(command, "target", None)
            name = type(command).__name__.lower()
            names.append(f"{name} {target.kind}" if target is not None else name)
    return names
