"""Courses of events that rules which are drawn one by one hardly ever come to."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from glowplug.core.commands import Build
from glowplug.core.ids import GatewayId
from tests.control.rules import CommonRules
from tests.control.world import FACTS, NODE

names = st.sampled_from(["a", "b", "c"])
gateways = st.sampled_from(["g0", "g1", "g2"])


class Scenes(CommonRules):
    """For machines that can `deploy` and `serve` the functions a, b and c."""

    deploy: Any
    serve: Any
    finish_all: Any
    flow: Any

    @rule(name=names, at=gateways, count=st.sampled_from([10, 70]))
    def surge(self, name: str, at: str, count: int) -> None:
        """More than the slots that were lent."""
        for _ in range(10):
            self.flow(name, 0.0001, at)
        for _ in range(count):
            self.world.ask(name, 60.0, at)
        self.world.gateways[GatewayId(at)].report()
        self.world.engine.answer_all()

    @rule(name=names, at=gateways, took_s=st.sampled_from([0.002, 0.1]))
    def stall(self, name: str, at: str, took_s: float) -> None:
        """Under a lease nothing moves any more, and more is asked."""
        self.flow(name, took_s, at)
        for _ in range(4):
            self.world.ask(name, 60.0, at)
            self.world.advance(1.5)
            self.world.gateways[GatewayId(at)].report()

    @rule(name=names, period_s=st.sampled_from([61.0, 150.0]))
    def make_a_habit(self, name: str, period_s: float) -> None:
        """So regular that its policy starts the next worker by itself."""
        self.deploy(name, 4, FACTS)
        for _ in range(12):
            self.serve(name, 0.0)
            self.finish_all(0.02)
            self.world.advance(period_s)

    @rule(name=names, version=st.integers(1, 5))
    def lose_while_it_builds(self, name: str, version: int) -> None:
        self.deploy(name, version, None)
        for _ in range(20):
            pending = [n for n, c in self.world.engine.pending.items() if not isinstance(c, Build)]
            if not pending:
                break
            self.world.engine.succeed(pending[0])
        self.lose(NODE, sure=True)
