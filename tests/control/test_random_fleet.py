"""Whatever happens to devices, in whatever order and under every policy: the state stays whole, no request is
lost, and no device holds more than it has."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from glowplug.core.events import (
    ClimbRequested,
    Deployed,
    DescendRequested,
    PressureChanged,
    RollbackRequested,
    ScaleRequested,
    Undeployed,
)
from glowplug.core.ids import FunctionId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, EndpointSpec
from glowplug.policy.registry import POLICIES
from tests.control.device_rules import CAPACITY_BYTES, DeviceRules
from tests.control.rules import CommonRules, rarely
from tests.control.world import FACTS, NODE, World, spec
from tests.depth import examples

NAMES = ("a", "b", "c", "huge", "cpu")
names = st.sampled_from(NAMES)
durations = st.sampled_from([0.002, 0.1, 1.0, 10.0])
"""The last is as of a device that became slow."""
steps = st.sampled_from([Step.LOCAL, Step.IMPORTED, Step.STAGED, Step.PARKED])


def declared(name: str, version: int) -> Any:
    """`a` and `b` fit on a device together, `c` only alone, `huge` on none; `c` moves to the CPU."""
    sizes = {"a": 900, "b": 1000, "c": 1500, "huge": 2500}
    on_cpu = name == "cpu" or (name == "c" and version == 3)
    return spec(
        name,
        str(version),
        environment="shared" if name != "c" else "own",
        memory_bytes=700,
        device="cpu" if on_cpu else "gpu",
        device_memory_bytes=sizes.get(name, 0),
        max_queue=4,
        max_workers={"a": 3, "b": 2}.get(name, 1),
        priority="batch" if name == "b" else "interactive",
        endpoints=(EndpointSpec("e", max_batch=3 if name == "a" else 1),),
        min_workers=1 if name == "b" and version == 2 else 0,
        preload="always" if name in ("c", "huge") else "never" if version == 3 else "auto",
        latency_target_s=5.0 if name == "a" else 0.0,
        keep_warm_s=20.0,
        timeout_s=20.0,
    )


class Machine(DeviceRules, CommonRules):
    budget_bytes = 4000

    @initialize(
        scheduling=st.sampled_from(sorted(POLICIES["scheduling"])),
        eviction=st.sampled_from(sorted(POLICIES["eviction"])),
    )
    def begin(self, scheduling: str, eviction: str) -> None:
        control = ControlSettings(
            environment_estimate_bytes=400,
            reserve_margin_bytes=10,
            reserve_factor=1.0,
            max_queued=8,
            climb_timeout_s=15.0,
            build_timeout_s=40.0,
            lease_s=10.0,
            scheduling=scheduling,
            device_eviction=eviction,
        )
        self.world = World(control, self.budget_bytes, gateways=2)
        self.world.engine.held_bytes = lambda target: 80
        for number in ("d0", "d1"):
            self.join_device(number, CAPACITY_BYTES)
        self.world.deploy(*(declared(name, 1) for name in NAMES))

    @rule(name=names, version=st.integers(1, 3), facts=st.sampled_from([None, FACTS]))
    def deploy(self, name: str, version: int, facts: BundleFacts | None) -> None:
        self.world.post(Deployed(declared(name, version), facts))

    @rule(name=names, sure=rarely)
    def undeploy(self, name: str, sure: bool) -> None:
        if sure:
            self.world.post(Undeployed(FunctionId(f"{name}.default")))

    @rule(name=names, version=st.integers(1, 3))
    def roll_back(self, name: str, version: int) -> None:
        self.world.post(RollbackRequested(FunctionId(f"{name}.default"), VersionId(f"{name}-v{version}")))

    @rule(name=names, replicas=st.integers(0, 3))
    def scale(self, name: str, replicas: int) -> None:
        self.world.post(ScaleRequested(FunctionId(f"{name}.default"), replicas))

    @rule(name=names, step=steps, up=st.booleans())
    def move(self, name: str, step: Step, up: bool) -> None:
        function = FunctionId(f"{name}.default")
        self.world.post(ClimbRequested(function, step) if up else DescendRequested(function, step))

    @rule(
        name=names,
        gateway=st.sampled_from(["g0", "g1"]),
        timeout_s=st.sampled_from([0.0, 3.0, 60.0]),
        priority=st.sampled_from([0, 0, 1, 2, 3]),
    )
    def ask(self, name: str, gateway: str, timeout_s: float, priority: int) -> None:
        self.world.ask(name, timeout_s, gateway, priority)

    @rule(name=names, count=st.integers(2, 9))
    def crowd(self, name: str, count: int) -> None:
        for number in range(count):
            self.world.ask(name, 30.0, f"g{number % 2}", number % 4)

    @rule(name=names, count=st.integers(4, 9))
    def crowd_and_leave(self, name: str, count: int) -> None:
        """Of those that wait, in a queue or a device's line, every other one leaves."""
        self.serve(name, 0.0)
        self.crowd(name, count)
        for gateway in self.world.gateways.values():
            for request in list(gateway.waiting)[::2]:
                gateway.cancel(request)

    @rule(name=names, seconds=st.sampled_from([0.0, 0.1, 5.0]))
    def serve(self, name: str, seconds: float) -> None:
        """The good case, so that the others start from more than ruins."""
        self.world.ask(name)
        self.world.engine.answer_all()
        self.world.advance(seconds)
        self.world.engine.answer_all()

    @rule(data=st.data(), took_s=durations)
    def finish(self, data: st.DataObject, took_s: float) -> None:
        gateway = self.world.gateways[data.draw(st.sampled_from(list(self.world.gateways)))]
        if gateway.running:
            request = data.draw(st.sampled_from(list(gateway.running)))
            gateway.start(request)
            if request in gateway.running:
                gateway.finish(request, ok=data.draw(st.booleans()), took_s=took_s)

    @rule(took_s=durations)
    def finish_all(self, took_s: float) -> None:
        for gateway in self.world.gateways.values():
            for request in list(gateway.running):
                if request in gateway.running:
                    gateway.finish(request, took_s=took_s)

    @rule(budget_bytes=st.sampled_from([300, 1500, 4000, 4000]))
    def press(self, budget_bytes: int) -> None:
        if NODE in self.world.state.nodes:
            self.world.post(PressureChanged(NODE, budget_bytes))


TestRandomFleet = Machine.TestCase
TestRandomFleet.settings = settings(
    max_examples=examples(40),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
