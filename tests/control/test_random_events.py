"""Whatever happens, in whatever order: the state stays whole, and no request is lost."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from msgspec.structs import replace

from glowplug.control.capacity import MOST_IN_ONE
from glowplug.control.loads import function_loads
from glowplug.control.status import function_statuses, node_statuses
from glowplug.core.events import (
    ClimbRequested,
    Deployed,
    DescendRequested,
    HeldChanged,
    PressureChanged,
    RequestCancelled,
    RollbackRequested,
    ScaleRequested,
    Undeployed,
)
from glowplug.core.ids import FunctionId, GatewayId, NodeId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, EndpointSpec
from tests.control.rules import OTHER_NODE, rarely
from tests.control.scenes import Scenes, gateways, names
from tests.control.world import FACTS, NODE, World, spec
from tests.depth import examples

NAMES = ("a", "b", "c")
versions = st.integers(1, 5)
durations = st.sampled_from([0.0001, 0.002, 0.02, 0.1])
"""From deep pipelines to one request at a time."""
steps = st.sampled_from([Step.LOCAL, Step.IMPORTED, Step.STAGED, Step.PARKED])
UNSTAGEABLE = BundleFacts(highest_step=Step.IMPORTED, reason="threads", weight_bytes=200, peak_bytes=300)
OTHER = replace(FACTS, weight_bytes=300, pack="other")
"""Another model's weights, or those of a build that came out differently."""
HUGE = BundleFacts(weight_bytes=500, staged_bytes=90, parked_bytes=90, peak_bytes=4000)
"""Found out when it was built: no worker of it fits anywhere."""


def declared(name: str, version: int) -> Any:
    """`c` has packages of its own, and so has `a` from version 5 on. Version 4 of each is an odd one."""
    own = "p" if name == "c" else "q" if name == "a" and version == 5 else ""
    return spec(
        name,
        str(version),
        environment=f"own {own}" if own else "shared",
        packages=own,
        memory_bytes=4000 if name == "a" and version == 4 else 700,
        max_queue=0 if name == "b" and version == 4 else 3,
        max_workers={"a": 1, "b": 2, "c": 3}[name],
        target_concurrency=2 if name == "b" and version != 1 else 1,
        priority={"a": "interactive", "b": "batch", "c": "background"}[name],
        endpoints=(EndpointSpec("e", max_batch=4 if name == "c" and version == 3 else 1),),
        min_workers={"c2": 1, "c5": 2}.get(f"{name}{version}", 0),
        prewarm={1: "none" if name == "a" else "fixed", 4: "histogram"}.get(version, "auto"),
        preload={"b3": "always", "c4": "never", "b5": "always"}.get(f"{name}{version}", "auto"),
        pin=name == "b" and version in (2, 5),
        keep_warm_s=20.0,
        timeout_s=20.0,
    )


class Machine(Scenes):
    budget_bytes = 3300
    usual: ClassVar[ControlSettings] = ControlSettings()
    changed: ClassVar[dict[str, Any]] = {}
    """Control settings that differ."""
    began_s: ClassVar[float] = 1000.0

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
        self.world = World(control, self.budget_bytes, gateways=3, began_s=self.began_s)
        self.world.engine.held_bytes = lambda target: 80
        self.world.deploy(*(declared(name, 1) for name in NAMES))

    @rule(name=names, version=versions, facts=st.sampled_from([None, FACTS, FACTS, OTHER, UNSTAGEABLE, HUGE]))
    def deploy(self, name: str, version: int, facts: BundleFacts | None) -> None:
        self.world.post(Deployed(declared(name, version), facts))

    @rule(name=names, sure=rarely)
    def undeploy(self, name: str, sure: bool) -> None:
        if not sure:
            return
        self.world.post(Undeployed(FunctionId(f"{name}.default")))

    @rule(name=names, version=versions, facts=st.sampled_from([None, FACTS, OTHER]))
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
    def stop_leased(self, data: st.DataObject) -> None:
        """The client left; the gateway sent its request by itself."""
        known = self.world.state.context.store.requests
        gateways = self.world.gateways
        leased = [(name, r) for name in gateways for r in gateways[name].running if r not in known]
        if leased:
            name, request = data.draw(st.sampled_from(leased))
            where = gateways[name].running[request]
            self.world.post(RequestCancelled(request, where))
            if request in gateways[name].running:
                gateways[name].finish(request, ok=False)

    @rule(
        node=st.sampled_from([NODE, NODE, OTHER_NODE]),
        budget_bytes=st.sampled_from([0, 1500, 3300, 3300, 3300]),
    )
    def press(self, node: NodeId, budget_bytes: int) -> None:
        self.exact = False
        if node in self.world.state.nodes:
            self.world.post(PressureChanged(node, budget_bytes))

    @rule(data=st.data(), held_bytes=st.integers(1, 1200))
    def measure(self, data: st.DataObject, held_bytes: int) -> None:
        up = sorted(self.world.engine.up, key=lambda t: (t.kind, t.node, t.key))
        if up:
            self.exact = False
            self.world.post(HeldChanged(data.draw(st.sampled_from(up)), held_bytes))

    @invariant()
    def memory_is_accounted_for(self) -> None:
        store = self.world.state.context.store
        for gateway in self.world.gateways.values():
            in_workers = Counter(gateway.running.values())
            assert max(in_workers.values(), default=0) <= MOST_IN_ONE
        if self.exact:
            for node, used_bytes in store.ledger.used.items():
                assert used_bytes <= store.ledger.budget[node]


class Sharing(Machine):
    """Functions of two models, whose weights are held once for all that have them."""

    changed: ClassVar[dict[str, Any]] = {"shares_weights": True}
    began_s = 1.8e9
    """As a server's clock, which counts from 1970."""

    @rule(one=names, other=names, facts=st.sampled_from([FACTS, OTHER]), version=versions)
    def take_over_weights(self, one: str, other: str, facts: BundleFacts, version: int) -> None:
        """One function goes while another with its weights is on its way up."""
        self.deploy(one, 1, facts)
        self.serve(one, 0.0)
        self.deploy(other, version, facts)
        self.world.ask(other, 60.0)
        if one != other:
            self.undeploy(one, sure=True)
        self.world.engine.answer_all()

    @rule(name=names)
    def build_anew(self, name: str) -> None:
        """A build of the same version comes out differently while the last one's worker is busy."""
        self.deploy(name, 1, FACTS)
        self.world.ask(name, 60.0)
        self.world.engine.answer_all()
        self.deploy(name, 2, FACTS)
        self.deploy(name, 1, OTHER)
        self.finish_all(0.02)
        self.world.engine.answer_all()

    @invariant()
    def weights_are_held_once(self) -> None:
        store = self.world.state.context.store
        held = [key for key in store.holdings if key.startswith("weights/")]
        shared = [key for key in held if store.holdings[key].version is None]
        assert {key.rpartition("/")[2] for key in shared} <= {FACTS.pack, OTHER.pack}
        if self.exact:
            for key in shared:
                pack = key.rpartition("/")[2]
                assert store.ledger.held_bytes(key) == {FACTS.pack: 500, OTHER.pack: 300}[pack]

    @invariant()
    def parts_are_no_more_than_what_is_held(self) -> None:
        held_bytes = sum(node.cached_bytes for node in node_statuses(self.world.state))
        loads = list(function_loads(self.world.state))
        assert sum(load.weight_bytes for load in loads) <= held_bytes
        shown = (each for status in function_statuses(self.world.state) for each in status.held)
        assert sum(each.held_bytes for each in shown if each.step == "local") <= held_bytes


RANDOM = settings(
    max_examples=examples(40),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestRandomEvents = Machine.TestCase
TestRandomEvents.settings = RANDOM
TestRandomSharing = Sharing.TestCase
TestRandomSharing.settings = RANDOM
