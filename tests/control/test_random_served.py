"""Whatever happens, in whatever order, with the settings that `glowplug serve` makes and functions of every
kind beside each other: the same promises hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from glowplug.cli.control_options import control_settings
from glowplug.core.events import Deployed, RollbackRequested, ScaleRequested, Undeployed
from glowplug.core.ids import FunctionId, GatewayId, VersionId
from glowplug.core.ladder import Step
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, EndpointSpec
from tests.control.device_rules import CAPACITY_BYTES, DeviceRules
from tests.control.mortal_gateway import MortalGateway
from tests.control.rules import rarely
from tests.control.test_random_events import durations, steps
from tests.control.test_random_gangs import Gangs
from tests.control.test_random_preloads import Preloading
from tests.control.world import FACTS, spec
from tests.depth import examples

ON_DEVICES = ("d", "e")
PRELOADS = ("none", "ladder", "tyche", "instainfer")
on_devices = st.sampled_from(ON_DEVICES)


def served(preload: str) -> ControlSettings:
    """What the command's own defaults come to."""
    usual = ControlSettings()
    return control_settings(
        usual.scheduling, None, usual.device_eviction, preload, usual.preload_cpu_share,
        usual.preload_memory_share, usual.preload_horizon_s,
    )  # fmt: skip


def declared(name: str, version: int) -> Any:
    """Two of `d` fit on a device together, `e` only alone; `d` moves to the CPU and back."""
    return spec(
        name,
        str(version),
        environment="shared",
        memory_bytes=700,
        device="cpu" if name == "d" and version == 3 else "gpu",
        device_memory_bytes={"d": 900, "e": 1500}[name],
        max_queue=4,
        max_workers={"d": 3, "e": 1}[name],
        endpoints=(EndpointSpec("e", max_batch=3 if name == "d" else 1),),
        min_workers=1 if version == 2 else 0,
        preload={"d4": "always", "e4": "never"}.get(f"{name}{version}", "auto"),
        pin=name == "d" and version == 4,
        priority="batch" if name == "e" else "interactive",
        keep_warm_s=20.0,
        timeout_s=20.0,
    )


class Served(DeviceRules, Gangs, Preloading):
    budget_bytes = 4000
    began_s = 1.8e9
    """As a server's clock, which counts from 1970."""

    def __init__(self) -> None:
        super().__init__()
        self.mortal = MortalGateway(GatewayId("g2"), self.world.post, self.world.clock)
        self.world.gateways[self.mortal.name] = self.mortal
        for device in ("d0", "d1"):
            self.join_device(device, CAPACITY_BYTES)
        self.world.deploy(*(declared(name, 1) for name in ON_DEVICES))

    @rule(data=st.data(), sure=rarely)
    def die_as_gateway(self, data: st.DataObject, sure: bool) -> None:
        if self.mortal.state == "alive" and sure:
            self.mortal.die(data.draw(st.sets(st.sampled_from([0, *self.mortal.running]))))

    @rule(data=st.data())
    def bury_the_gateway(self, data: st.DataObject) -> None:
        if self.mortal.state == "dead":
            self.mortal.bury(data.draw(st.sets(st.sampled_from([0, *self.mortal.outcomes]))))
        elif self.mortal.state == "absent":
            self.mortal.rise()

    def teardown(self) -> None:
        if self.mortal.state == "dead":
            self.mortal.bury(())
        self.mortal.rise()
        super().teardown()

    def wait_in_context(self, device: str, held_bytes: int) -> None:
        self.exact = False
        super().wait_in_context(device, held_bytes)

    @rule(name=on_devices, version=st.integers(1, 4), facts=st.sampled_from([None, FACTS]))
    def deploy_on_devices(self, name: str, version: int, facts: BundleFacts | None) -> None:
        self.world.post(Deployed(declared(name, version), facts))

    @rule(name=on_devices, version=st.integers(1, 4))
    def roll_back_on_devices(self, name: str, version: int) -> None:
        self.world.post(RollbackRequested(FunctionId(f"{name}.default"), VersionId(f"{name}-v{version}")))

    @rule(name=on_devices, step=steps, up=st.booleans())
    def move_on_devices(self, name: str, step: Step, up: bool) -> None:
        self.move(name, step, up)

    @rule(name=on_devices, sure=rarely)
    def undeploy_on_devices(self, name: str, sure: bool) -> None:
        if sure:
            self.world.post(Undeployed(FunctionId(f"{name}.default")))

    @rule(name=on_devices, replicas=st.integers(0, 3))
    def scale_on_devices(self, name: str, replicas: int) -> None:
        self.world.post(ScaleRequested(FunctionId(f"{name}.default"), replicas))

    @rule(name=on_devices, gateway=st.sampled_from(["g0", "g1"]), count=st.integers(1, 5), took_s=durations)
    def ask_on_devices(self, name: str, gateway: str, count: int, took_s: float) -> None:
        for _ in range(count):
            self.world.ask(name, 30.0, gateway)
        self.world.engine.answer_all()
        self.finish_all(took_s)


@pytest.mark.hypothesis
@pytest.mark.parametrize("preload", PRELOADS)
def test_nothing_is_lost_as_it_is_served(preload: str) -> None:
    run_state_machine_as_test(
        type("Machine", (Served,), {"usual": served(preload)}),
        settings=settings(
            max_examples=examples(25),
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
