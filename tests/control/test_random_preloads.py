"""Whatever happens, in whatever order, while functions are loaded ahead: the same promises hold."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from glowplug.core.events import HeldChanged
from tests.control.scenes import names
from tests.control.test_random_events import Machine
from tests.control.world import FACTS, NODE
from tests.depth import examples

PROCESS = {"substrate": "process", "lends": False, "prewarm": "fixed"}
SYSTEMS: dict[str, dict[str, Any]] = {
    "tyche": {**PROCESS, "preload": "tyche"},
    "tyche displacing": {**PROCESS, "preload": "tyche", "keeps_loaded": False},
    "instainfer displacing": {**PROCESS, "preload": "instainfer", "keeps_loaded": False},
    "tyche yielding": {**PROCESS, "preload": "tyche", "guests_displace": True},
    "histogram": {**PROCESS, "prewarm": "histogram"},
    "ladder in sandboxes": {**PROCESS, "preload": "ladder", "eviction": "ladder", "prewarm": "kept"},
    "ladder displacing": {**PROCESS, "preload": "ladder", "eviction": "ladder", "keeps_loaded": False},
    "pagurus": {**PROCESS, "preload": "tyche", "prewarm": "pagurus", "eviction": "greedy-dual"},
    "ladder": {"preload": "ladder", "eviction": "ladder", "prewarm": "kept"},
    "ladder at a price": {
        "preload": "ladder",
        "eviction": "ladder",
        "preload_memory_share": 0.3,
        "preload_cpu_share": 0.2,
        "preload_byte_price": 1e-5,
        "preload_horizon_s": 1.0,
    },
    "ladder, weights shared": {
        "preload": "ladder",
        "eviction": "ladder",
        "prewarm": "kept",
        "shares_weights": True,
    },
    "value-per-byte, weights shared": {"preload": "instainfer", "prewarm": "kept", "shares_weights": True},
    "tyche on zygotes": {"preload": "tyche", "prewarm": "kept"},
}


class Preloading(Machine):
    """Calls come often and at regular times too, so that something is foreseen."""

    changed: ClassVar[dict[str, Any]] = {}

    @rule(name=names, period_s=st.sampled_from([3.0, 8.0, 15.0]), also=names)
    def tick(self, name: str, period_s: float, also: str) -> None:
        """A timer calls; another function's sandbox stands idle beside it meanwhile."""
        for _ in range(4):
            self.serve(name, 0.0)
            self.finish_all(0.02)
            self.serve(also, 0.0)
            self.finish_all(0.02)
            self.world.advance(period_s)
            self.world.engine.answer_all()

    @rule(
        name=names,
        period_s=st.sampled_from([3.0, 8.0, 15.0]),
        what=st.sampled_from(["undeploy", "deploy", "scale", "lose", "die"]),
    )
    def change_while_foreseen(self, name: str, period_s: float, what: str) -> None:
        """It still answers when its next call would be due."""
        self.tick(name, period_s, name)
        self.world.ask(name, 60.0)
        self.world.engine.answer_all()
        if what == "undeploy":
            self.undeploy(name, sure=True)
        elif what == "deploy":
            self.deploy(name, 2, FACTS)
        elif what == "scale":
            self.scale(name, 0)
        elif what == "lose":
            self.lose(NODE, sure=True)
        else:
            for target in sorted(self.world.engine.up, key=lambda t: (t.kind, t.node, t.key)):
                if target.kind == "version":
                    self.world.engine.exit(target)
        self.world.advance(2 * period_s)
        self.finish_all(0.02)

    @rule()
    def measure_all(self) -> None:
        """Guests are measured as everything else is."""
        self.exact = False
        for target in sorted(self.world.engine.up, key=lambda t: (t.kind, t.node, t.key)):
            self.world.post(HeldChanged(target, 95))


@pytest.mark.hypothesis
@pytest.mark.parametrize("system", SYSTEMS)
def test_nothing_is_lost_while_functions_are_loaded_ahead(system: str) -> None:
    machine = type("Machine", (Preloading,), {"changed": SYSTEMS[system]})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(16),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
