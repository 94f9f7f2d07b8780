"""Whatever happens, in whatever order, while models lie on several workers: the same promises hold, and a
gang is there whole or not at all (validate)."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from glowplug.core.events import Deployed, RollbackRequested, ScaleRequested, Undeployed
from glowplug.core.ids import FunctionId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts, PartFacts
from tests.control.rules import rarely
from tests.control.test_random_events import Machine, durations, steps
from tests.control.world import spec
from tests.depth import examples

GANGS = ("g", "h", "i")
gangs = st.sampled_from(GANGS)
SYSTEMS: dict[str, dict[str, Any]] = {
    "as served": {},
    "ladder": {"preload": "ladder", "eviction": "ladder", "prewarm": "kept"},
    "in sandboxes": {"substrate": "process", "lends": False, "prewarm": "fixed", "preload": "tyche"},
}


def facts(name: str) -> BundleFacts:
    """Any two of them are larger together than the machine's memory."""
    parts = {"g": 2, "h": 3, "i": 1}[name]
    part_bytes = 900 // (parts + 1)
    return BundleFacts(
        weight_bytes=part_bytes, staged_bytes=90, parked_bytes=90, peak_bytes=150,
        parts=tuple(PartFacts(f"{name}{n}", part_bytes) for n in range(parts)),
    )  # fmt: skip


def gang(name: str, version: int) -> Any:
    return spec(
        name,
        str(version),
        environment="shared",
        memory_bytes=150,
        workers={"g": 3, "h": 4, "i": 2}[name],
        max_queue=5,
        max_workers=2 if name == "i" else 1,
        min_workers=1 if version == 2 else 0,
        preload="always" if version == 3 else "auto",
        priority="batch" if name == "h" else "interactive",
        keep_warm_s=10.0,
        timeout_s=20.0,
    )


class Gangs(Machine):
    changed: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        for name in GANGS:
            self.world.post(Deployed(gang(name, 1), facts(name)))

    @rule(name=gangs, version=st.integers(1, 3))
    def deploy_gang(self, name: str, version: int) -> None:
        self.world.post(Deployed(gang(name, version), facts(name)))

    @rule(name=gangs, replicas=st.integers(0, 2))
    def scale_gang(self, name: str, replicas: int) -> None:
        self.world.post(ScaleRequested(FunctionId(f"{name}.default"), replicas))

    @rule(name=gangs, version=st.integers(1, 3))
    def roll_gang_back(self, name: str, version: int) -> None:
        self.world.post(RollbackRequested(FunctionId(f"{name}.default"), VersionId(f"{name}-v{version}")))

    @rule(name=gangs, step=steps, up=st.booleans())
    def move_gang(self, name: str, step: Step, up: bool) -> None:
        self.move(name, step, up)

    @rule(name=gangs, sure=rarely)
    def undeploy_gang(self, name: str, sure: bool) -> None:
        if sure:
            self.world.post(Undeployed(FunctionId(f"{name}.default")))

    @rule(name=gangs, timeout_s=st.sampled_from([3.0, 60.0]), gateway=st.sampled_from(["g0", "g1"]))
    def ask_gang(self, name: str, timeout_s: float, gateway: str) -> None:
        self.world.ask(name, timeout_s, gateway)

    @rule(one=gangs, other=gangs, took_s=durations)
    def contend(self, one: str, other: str, took_s: float) -> None:
        """Two gangs want the same memory at the same time."""
        self.world.ask(one, 60.0)
        self.world.ask(other, 60.0)
        self.world.engine.answer_all()
        self.finish_all(took_s)
        self.world.engine.answer_all()

    @rule(data=st.data())
    def lose_a_part(self, data: st.DataObject) -> None:
        parts = sorted((t for t in self.world.engine.up if t.kind == "part"), key=lambda t: t.key)
        if parts:
            self.world.engine.exit(data.draw(st.sampled_from(parts)))


@pytest.mark.hypothesis
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_gang_is_there_whole_or_not_at_all(system: str) -> None:
    machine = type("Machine", (Gangs,), {"changed": SYSTEMS[system]})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(20),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
