"""What may befall any controller, for machines that have a `world` of two nodes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from glowplug.control.records import key_of
from glowplug.control.state import ControlState
from glowplug.core.commands import Build, Climb
from glowplug.core.events import (
    Built,
    ClimbProgress,
    CommandFailed,
    InstanceExited,
    NodeJoined,
    RequestCancelled,
    RequestDone,
    RequestStarted,
    StepLost,
    StepReached,
)
from glowplug.core.ids import NodeId
from glowplug.core.specs import NodeSpec
from tests.control.mishaps import Mishaps
from tests.control.world import NODE, World

OTHER_NODE = NodeId("there")
rarely = st.sampled_from([False, False, False, True])
BAD_LUCK = ("function_failed", "unavailable", "out_of_memory", "no_space", "device_failed", "device_full")
TOLD_ONCE = (
    Built, StepReached, StepLost, InstanceExited, CommandFailed, ClimbProgress, RequestStarted, RequestDone,
    RequestCancelled,
)  # fmt: skip
"""Events that name a command, a request or an instance by a number that is not given again."""


class CommonRules(Mishaps, RuleBasedStateMachine):
    """`exact` is false once something was measured or shrank that the ledger could not refuse."""

    world: World
    budget_bytes: int
    exact = True

    @rule(node=st.sampled_from([NODE, OTHER_NODE]), sure=rarely, small=rarely)
    def join(self, node: NodeId, sure: bool, small: bool) -> None:
        if not sure:
            return
        if node in self.world.state.nodes:
            self.world.lose_node(node)
        spec = self.node_spec(node)
        self.world.post(NodeJoined(replace(spec, budget_bytes=1000) if small else spec))

    def node_spec(self, node: NodeId) -> NodeSpec:
        return NodeSpec(node, self.budget_bytes)

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
    def lose(self, node: NodeId, sure: bool) -> None:
        if not sure:
            return
        self.world.lose_node(node)

    @rule()
    def restart_from_snapshot(self) -> None:
        self.world.state = ControlState.from_snapshot(self.world.state.snapshot())
        self.world.state.validate()

    @invariant()
    def nothing_is_orphaned(self) -> None:
        if not hasattr(self, "world"):
            return
        store = self.world.state.context.store
        for target in self.world.engine.up:
            assert key_of(target.kind, target.node, target.key) in store.holdings, f"orphan {target}"
        for command in self.world.engine.pending.values():
            if isinstance(command, (Climb, Build)):
                assert command.id in store.commands, f"nobody waits for {command}"

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
        assert asked == set(range(1, world.asked + 1)), (
            f"without an answer: {set(range(1, world.asked + 1)) - asked}"
        )
