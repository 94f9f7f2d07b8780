"""What befalls devices, for machines whose `world` has two nodes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from glowplug.core.events import ContextWaits, DeviceJoined
from glowplug.core.ids import DeviceId, NodeId
from glowplug.core.specs import DeviceSpec, NodeSpec
from tests.control.rules import OTHER_NODE, rarely
from tests.control.world import NODE, World

DEVICES = {"d0": NODE, "d1": NODE, "d2": OTHER_NODE}
CAPACITY_BYTES = 2000
devices = st.sampled_from(list(DEVICES))


class DeviceRules:
    world: World
    budget_bytes: int

    @rule(
        device=devices,
        capacity_bytes=st.sampled_from([CAPACITY_BYTES, CAPACITY_BYTES, 1000, 4000]),
        at_once=st.sampled_from([1, 1, 2]),
        context_bytes=st.sampled_from([0, 0, 100]),
    )
    def join_device(self, device: str, capacity_bytes: int, at_once: int = 1, context_bytes: int = 0) -> None:
        """One that was there has lost its memory."""
        if DEVICES[device] in self.world.state.nodes:
            self.world.forget_device(DeviceId(device))
            joined = DeviceSpec(DeviceId(device), capacity_bytes, at_once, context_bytes)
            self.world.post(DeviceJoined(DEVICES[device], joined))

    @rule(device=devices, held_bytes=st.sampled_from([0, 50, 200]))
    def wait_in_context(self, device: str, held_bytes: int) -> None:
        self.world.post(ContextWaits(DeviceId(device), held_bytes))

    @rule(device=devices, sure=rarely)
    def lose_device(self, device: str, sure: bool) -> None:
        if sure:
            self.world.lose_device(DeviceId(device))

    def node_spec(self, node: NodeId) -> NodeSpec:
        """It comes with its devices."""
        there = [DeviceSpec(DeviceId(d), CAPACITY_BYTES) for d, home in DEVICES.items() if home == node]
        return NodeSpec(node, self.budget_bytes, 2, tuple(there))
