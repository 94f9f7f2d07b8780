"""Whatever happens, in whatever order: the state stays whole, and no request is lost."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from glowplug.control.capacity import MOST_IN_ONE
from glowplug.control.records import key_of
from glowplug.control.state import ControlState
from glowplug.core.commands import Build, Climb
from glowplug.core.events import (
    Built,
    ClimbProgress,
    ClimbRequested,
    CommandFailed,
    Deployed,
    DescendRequested,
    HeldChanged,
    InstanceExited,
    NodeJoined,
    PressureChanged,
    RequestCancelled,
    RequestDone,
    RequestStarted,
    RollbackRequested,
    ScaleRequested,
    StepLost,
    StepReached,
    Undeployed,
)
from glowplug.core.ids import FunctionId, GatewayId, NodeId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, EndpointSpec, NodeSpec
from tests.control.world import FACTS, NODE, World, spec
from tests.depth import examples

NAMES = ("a", "b", "c")
OTHER_NODE = NodeId("there")
names = st.sampled_from(NAMES)
versions = st.integers(1, 4)
gateways = st.sampled_from(["g0", "g1", "g2"])
rarely = st.sampled_from([False, False, False, True])
durations = st.sampled_from([0.0001, 0.002, 0.02, 0.1])
"""From deep pipelines to one request at a time."""
steps = st.sampled_from([Step.LOCAL, Step.IMPORTED, Step.STAGED, Step.PARKED])
UNSTAGEABLE = BundleFacts(highest_step=Step.IMPORTED, reason="threads", weight_bytes=200, peak_bytes=300)
HUGE = BundleFacts(weight_bytes=500, staged_bytes=90, parked_bytes=90, peak_bytes=4000)
"""Found out when it was built: no worker of it fits anywhere."""
BAD_LUCK = ("function_failed", "unavailable", "out_of_memory", "no_space", "device_failed", "device_full")
TOLD_ONCE = (
    Built, StepReached, StepLost, InstanceExited, CommandFailed, ClimbProgress, RequestStarted, RequestDone,
    RequestCancelled,
)  # fmt: skip
"""Events that name a command, a request or an instance by a number that is not given again."""


def declared(name: str, version: int) -> Any:
    """`c` has packages of its own. Version 4 of each is an odd one."""
    return spec(
        name,
        str(version),
        environment="shared" if name != "c" else "own",
        packages="p" if name == "c" else "",
        memory_bytes=4000 if name == "a" and version == 4 else 700,
        max_queue=0 if name == "b" and version == 4 else 3,
        max_workers={"a": 1, "b": 2, "c": 3}[name],
        target_concurrency=2 if name == "b" and version != 1 else 1,
        priority={"a": "interactive", "b": "batch", "c": "background"}[name],
        endpoints=(EndpointSpec("e", max_batch=4 if name == "c" and version == 3 else 1),),
        min_workers=1 if name == "c" and version == 2 else 0,
        prewarm={1: "none" if name == "a" else "fixed", 4: "histogram"}.get(version, "auto"),
        preload={"b3": "always", "c4": "never"}.get(f"{name}{version}", "auto"),
        pin=name == "b" and version == 2,
        keep_warm_s=20.0,
        timeout_s=20.0,
    )


class Machine(RuleBasedStateMachine):
    """`exact` is false once something was measured or shrank that the ledger could not refuse."""

    budget_bytes = 3300
    usual: ClassVar[ControlSettings] = ControlSettings()
    changed: ClassVar[dict[str, Any]] = {}
    """Control settings that differ."""

    def __init__(self) -> None:
        super().__init__()
        control = replace(
            self.usual,
            environment_estimate_bytes=900,
            reserve_margin_bytes=10,
            reserve_factor=1.0,
            max_queued=6,
            climb_timeout_s=15.0,
            build_timeout_s=40.0,
            lease_s=10.0,
            **self.changed,
        )
        self.world = World(control, self.budget_bytes, gateways=3)
        self.world.engine.held_bytes = lambda target: 80
        self.exact = True
        self.world.deploy(*(declared(name, 1) for name in NAMES))

    @rule(name=names, version=versions, facts=st.sampled_from([None, FACTS, FACTS, UNSTAGEABLE, HUGE]))
    def deploy(self, name: str, version: int, facts: BundleFacts | None) -> None:
        self.world.post(Deployed(declared(name, version), facts))

    @rule(name=names, sure=rarely)
    def undeploy(self, name: str, sure: bool) -> None:
        if not sure:
            return
        self.world.post(Undeployed(FunctionId(f"{name}.default")))

    @rule(name=names, version=versions, facts=st.sampled_from([None, FACTS]))
    def keep(self, name: str, version: int, facts: BundleFacts | None) -> None:
        """As at the server's start: a version that was active before."""
        self.world.post(Deployed(declared(name, version), facts, active=False))

    @rule(name=names, version=versions)
    def roll_back(self, name: str, version: int) -> None:
        self.world.post(RollbackRequested(FunctionId(f"{name}.default"), VersionId(f"{name}-v{version}")))

    @rule(name=names, replicas=st.integers(0, 2))
    def scale(self, name: str, replicas: int) -> None:
        self.world.post(ScaleRequested(FunctionId(f"{name}.default"), replicas))

    @rule(name=names, step=steps, up=st.booleans())
    def move(self, name: str, step: Step, up: bool) -> None:
        function = FunctionId(f"{name}.default")
        self.world.post(ClimbRequested(function, step) if up else DescendRequested(function, step))

    @rule(
        name=names,
        gateway=gateways,
        timeout_s=st.sampled_from([0.0, 3.0, 60.0]),
        priority=st.sampled_from([0, 0, 1, 2, 3, 99]),
    )
    def ask(self, name: str, gateway: str, timeout_s: float, priority: int) -> None:
        self.world.ask(name, timeout_s, gateway, priority)

    @rule(name=names, count=st.integers(2, 9), gateway=gateways)
    def crowd(self, name: str, count: int, gateway: str) -> None:
        for number in range(count):
            self.world.ask(name, 30.0, gateway, number % 4)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        gateway = self.world.gateways[data.draw(st.sampled_from(list(self.world.gateways)))]
        if gateway.running:
            request = data.draw(st.sampled_from(list(gateway.running)))
            gateway.start(request)
            if request in gateway.running:
                gateway.finish(request, ok=data.draw(st.booleans()), took_s=data.draw(durations))

    @rule(name=names, seconds=st.sampled_from([0.0, 0.1, 5.0]))
    def serve(self, name: str, seconds: float) -> None:
        """The good case, so that the others start from more than ruins."""
        self.world.ask(name)
        self.world.engine.answer_all()
        self.world.advance(seconds)
        self.world.engine.answer_all()

    @rule(took_s=durations)
    def finish_all(self, took_s: float) -> None:
        for gateway in self.world.gateways.values():
            for request in list(gateway.running):
                if request in gateway.running:
                    gateway.finish(request, took_s=took_s)

    @rule(name=names, took_s=durations, at=gateways)
    def flow(self, name: str, took_s: float, at: str) -> None:
        """As many short requests as make a worker's slots many."""
        gateway = self.world.gateways[GatewayId(at)]
        for _ in range(3):
            request = self.world.ask(name, 60.0, at)
            self.world.engine.answer_all()
            if request in gateway.running:
                gateway.finish(request, took_s=took_s)
            gateway.report()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        gateway = self.world.gateways[data.draw(st.sampled_from(list(self.world.gateways)))]
        requests = [*gateway.waiting, *gateway.running]
        if requests:
            gateway.cancel(data.draw(st.sampled_from(requests)))

    @precondition(lambda self: self.world.engine.pending)
    @rule(data=st.data(), everything=st.booleans())
    def succeed(self, data: st.DataObject, everything: bool) -> None:
        if everything:
            for number in list(self.world.engine.pending):
                if number in self.world.engine.pending:
                    self.world.engine.succeed(number)
        else:
            self.world.engine.succeed(data.draw(st.sampled_from(list(self.world.engine.pending))))

    @precondition(lambda self: self.world.engine.pending)
    @rule(data=st.data(), code=st.sampled_from(BAD_LUCK), permanent=st.booleans())
    def fail(self, data: st.DataObject, code: str, permanent: bool) -> None:
        number = data.draw(st.sampled_from(list(self.world.engine.pending)))
        self.world.engine.fail(number, code, "it raised", permanent=permanent)

    @rule(data=st.data(), failed=rarely)
    def cross(self, data: st.DataObject, failed: bool) -> None:
        """What a climb came to is told only after it was given up."""
        if self.world.engine.overtaken:
            one = data.draw(st.sampled_from(self.world.engine.overtaken))
            self.world.engine.cross(one, failed=failed)

    @rule(data=st.data())
    def hear_again(self, data: st.DataObject) -> None:
        """What was told already, and means nothing any more."""
        told = [event for _, event in self.world.events if isinstance(event, TOLD_ONCE)]
        told = [event for event in told if not isinstance(event, StepLost) or event.command is not None]
        if told:
            self.world.post(data.draw(st.sampled_from(told[-20:])))

    @precondition(lambda self: self.world.engine.pending)
    @rule(data=st.data(), phase=st.sampled_from(["environment", "import"]))
    def progress(self, data: st.DataObject, phase: str) -> None:
        number = data.draw(st.sampled_from(list(self.world.engine.pending)))
        self.world.post(ClimbProgress(number, phase, self.world.clock.now_s))

    @rule(held_bytes=st.sampled_from([80, 80, 400]), took_s=st.sampled_from([0.001, 0.05, 2.0]))
    def change(self, held_bytes: int, took_s: float) -> None:
        """From now on climbs take that long, and what they bring holds so much."""
        self.exact = self.exact and held_bytes == 80
        self.world.engine.held_bytes = lambda target: held_bytes
        self.world.engine.took_s = took_s

    @rule(data=st.data(), code=st.sampled_from(["worker_died", "out_of_memory"]))
    def die(self, data: st.DataObject, code: str) -> None:
        pending = self.world.engine.pending.values()
        climbing = [c.target for c in pending if isinstance(c, Climb) and c.target.kind == "instance"]
        targets = sorted([*self.world.engine.up, *climbing], key=lambda t: (t.kind, t.node, t.key))
        if targets:
            self.world.engine.exit(data.draw(st.sampled_from(targets)), code=code)

    @rule(seconds=st.sampled_from([0.01, 1.0, 7.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def report(self) -> None:
        for gateway in self.world.gateways.values():
            gateway.report()

    @rule(node=st.sampled_from([NODE, OTHER_NODE]), sure=rarely)
    def join(self, node: NodeId, sure: bool) -> None:
        if not sure:
            return
        if node in self.world.state.nodes:
            self.world.lose_node(node)
        self.world.post(NodeJoined(NodeSpec(node, self.budget_bytes)))

    @rule(node=st.sampled_from([NODE, OTHER_NODE]), sure=rarely)
    def lose(self, node: NodeId, sure: bool) -> None:
        if not sure:
            return
        self.world.lose_node(node)

    @rule(budget_bytes=st.sampled_from([1500, 3300, 3300]))
    def press(self, budget_bytes: int) -> None:
        self.exact = False
        if NODE in self.world.state.nodes:
            self.world.post(PressureChanged(NODE, budget_bytes))

    @rule(data=st.data(), held_bytes=st.integers(1, 1200))
    def measure(self, data: st.DataObject, held_bytes: int) -> None:
        up = sorted(self.world.engine.up, key=lambda t: (t.kind, t.node, t.key))
        if up:
            self.exact = False
            self.world.post(HeldChanged(data.draw(st.sampled_from(up)), held_bytes))

    @rule()
    def restart_from_snapshot(self) -> None:
        self.world.state = ControlState.from_snapshot(self.world.state.snapshot())
        self.world.state.validate()

    @invariant()
    def memory_is_accounted_for(self) -> None:
        store = self.world.state.context.store
        for target in self.world.engine.up:
            assert key_of(target.kind, target.node, target.key) in store.holdings, f"orphan {target}"
        for command in self.world.engine.pending.values():
            if isinstance(command, (Climb, Build)):
                assert command.id in store.commands, f"nobody waits for {command}"
        for gateway in self.world.gateways.values():
            in_workers = Counter(gateway.running.values())
            assert max(in_workers.values(), default=0) <= MOST_IN_ONE
        if self.exact:
            for node, used_bytes in store.ledger.used.items():
                assert used_bytes <= store.ledger.budget[node]

    def teardown(self) -> None:
        """When everything goes on for long enough, every request has ended, in one way."""
        world = self.world
        for _ in range(40):
            world.advance(2.0)
            for number in list(world.engine.pending):
                if number in world.engine.pending:
                    world.engine.succeed(number)
            for gateway in world.gateways.values():
                for request in list(gateway.running):
                    if request in gateway.running:
                        gateway.finish(request)
                gateway.report()
        for gateway in world.gateways.values():
            assert not gateway.waiting, f"lost: {gateway.waiting}"
            assert not gateway.running, f"still running: {gateway.running}"
        assert not world.state.context.store.requests
        asked = {request for gateway in world.gateways.values() for request in gateway.outcomes}
        assert asked == set(range(1, world.asked + 1))


TestRandomEvents = Machine.TestCase
TestRandomEvents.settings = settings(
    max_examples=examples(40),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
