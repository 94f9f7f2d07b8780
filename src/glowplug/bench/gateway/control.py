"""What an unleased decision costs the controller in time, and a function in memory. No I/O, no process."""

from __future__ import annotations

import gc
import itertools
import time
import tracemalloc
from collections import deque
from typing import Any

from glowplug.bench.result import spread
from glowplug.control.state import ControlState
from glowplug.core.commands import ClearTimer, Dispatch, Lease, Reject, Revoke, SetTimer, Target
from glowplug.core.events import Deployed, Event, NodeJoined, RequestArrived, TimerFired
from glowplug.core.ids import EnvironmentId, FunctionId, GatewayId, NodeId, RequestId, VersionId
from glowplug.core.rng import rng_for
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, Declaration, FunctionSpec, NodeSpec
from glowplug.testing.clock import FakeClock
from glowplug.testing.fake_engine import FakeEngine
from glowplug.testing.fake_gateway import FakeGateway

NODE = NodeId("here")
FACTS = BundleFacts(weight_bytes=10**6, staged_bytes=10**6, parked_bytes=10**6, peak_bytes=2 * 10**6)
ROOMY_BYTES = 10**15
ENVIRONMENT_BYTES, OTHER_BYTES = 600 * 10**6, 10**7
"""What an environment holds, and what anything else does."""
KEEP_WARM_S = 1e9
TIMEOUT_S = 30.0
Row = dict[str, Any]


class TimedController:
    """The controller with a fake engine and gateway around it; each `handle` of an arrival is timed."""

    def __init__(self, functions: int, budget_bytes: int = ROOMY_BYTES) -> None:
        self.clock = FakeClock()
        self.state = ControlState(ControlSettings(eager_stage=False))
        self.engine = FakeEngine(facts=FACTS)
        self.engine.held_bytes = held_bytes
        self.gateway = FakeGateway(GatewayId("gateway"), self.post, self.clock)
        self.decisions_s: list[float] = []
        self._timers: dict[str, float] = {}
        self._pending: deque[Event] = deque()
        self._draining = False
        self.engine.connect(self.post)
        self.post(NodeJoined(NodeSpec(NODE, budget_bytes, 2)))
        for number in range(functions):
            self.post(Deployed(spec(number), FACTS))

    def post(self, event: Event) -> None:
        self._pending.append(event)
        if self._draining:
            return
        self._draining = True
        try:
            while self._pending:
                self._handle(self._pending.popleft())
        finally:
            self._draining = False

    def ask(self, request: int, number: int) -> None:
        """One request, and all that follows from it, the worker's answer included."""
        self.gateway.ask(RequestId(request), function_id(number), TIMEOUT_S)
        self.engine.answer_all()
        self.gateway.finish(RequestId(request))

    def wait(self, seconds: float) -> None:
        """Fires every timer on the way, in the order of their times."""
        end_s = self.clock.now_s + seconds
        while due := sorted((at_s, key) for key, at_s in self._timers.items() if at_s <= end_s):
            for at_s, key in due:
                if self._timers.get(key) == at_s:
                    self.clock.now_s = max(self.clock.now_s, self._timers.pop(key))
                    self.post(TimerFired(key))
        self.clock.now_s = end_s

    def _handle(self, event: Event) -> None:
        start_s = time.perf_counter()
        commands = self.state.handle(event, self.clock.now_s)
        if isinstance(event, RequestArrived):
            self.decisions_s.append(time.perf_counter() - start_s)
        for command in commands:
            if isinstance(command, SetTimer):
                self._timers[command.key] = command.at_s
            elif isinstance(command, ClearTimer):
                self._timers.pop(command.key, None)
            elif isinstance(command, (Dispatch, Lease, Revoke, Reject)):
                self.gateway.on_command(command)
            else:
                self.engine.submit(command)


def held_bytes(target: Target) -> int:
    return ENVIRONMENT_BYTES if target.kind == "environment" else OTHER_BYTES


def function_id(number: int) -> FunctionId:
    return FunctionId(f"function-{number}.default")


def spec(number: int) -> FunctionSpec:
    declaration = Declaration(
        name=f"function-{number}", kind="model", module=f"app_{number}", qualname="Model",
        memory_bytes=3 * 10**6, keep_warm_s=KEEP_WARM_S,
    )  # fmt: skip
    return FunctionSpec(
        function=function_id(number), version=VersionId(f"function-{number}-v1"), namespace="default",
        environment=EnvironmentId("environment"), upload=f"upload-{number}", declaration=declaration,
    )  # fmt: skip


def decision_rows(functions: int, decisions: int, seed: int = 0) -> list[Row]:
    """Decisions about functions that do not run (`local`), about those whose worker waits without a lease
    (`parked`), and about those for which others must go first (`full`).

    `decision_s` is the median time of `handle` for a request's arrival, of at least `decisions` for `parked`.
    """
    controller = TimedController(functions)
    draw = rng_for(seed, 0)
    order = list(range(functions))
    draw.shuffle(order)
    first, *others = order
    lease_s = controller.state.context.settings.lease_s
    requests = itertools.count(1)
    # Whoever is first also waits for the environment.
    controller.ask(next(requests), first)
    # A collection in the middle of a decision would be the collector's time.
    gc.collect()
    gc.freeze()
    try:
        controller.decisions_s.clear()
        for number in others:
            controller.ask(next(requests), number)
        rows = [_row(functions, "local", controller.decisions_s)]
        controller.decisions_s.clear()
        while len(controller.decisions_s) < decisions:
            controller.wait(2 * lease_s)
            for number in order:
                controller.ask(next(requests), number)
        rows.append(_row(functions, "parked", controller.decisions_s))
        controller.state.validate()
        rows.append(_row(functions, "full", _full(functions, order)))
    finally:
        gc.unfreeze()
    return rows


def _full(functions: int, order: list[int]) -> list[float]:
    """A first round over all functions fills the memory."""
    controller = TimedController(functions, 2 * ENVIRONMENT_BYTES + functions // 2 * OTHER_BYTES)
    requests = itertools.count(1)
    for _ in range(2):
        controller.decisions_s.clear()
        for number in order:
            controller.ask(next(requests), number)
    controller.state.validate()
    if len(controller.state.context.store.instances) >= functions:
        raise RuntimeError("there was room for all: nothing had to go")
    return controller.decisions_s


def memory_row(functions: int) -> Row:
    """Bytes that Python allocated for the controller of so many functions, each with a worker that waits,
    beyond one of none. What the fakes remember is in it, but for their lists of everything that was."""
    tracemalloc.start()
    try:
        empty = TimedController(0)
        gc.collect()
        before_bytes, _ = tracemalloc.get_traced_memory()
        full = TimedController(functions)
        for number in range(functions):
            full.ask(number, number)
        full.engine.submitted.clear()
        full.gateway.outcomes.clear()
        full.decisions_s.clear()
        gc.collect()
        after_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(full.state.functions) - len(empty.state.functions) == functions
    return {"part": "control", "functions": functions, "memory_bytes": after_bytes - before_bytes}


def _row(functions: int, standing: str, decisions_s: list[float]) -> Row:
    ranked = sorted(decisions_s)
    return {
        "part": "control", "functions": functions, "standing": standing, "decisions": len(ranked),
        **spread("decision_s", ranked), "p99_s": ranked[int(0.99 * (len(ranked) - 1))],
    }  # fmt: skip
