"""Where a worker climbs, among nodes that differ in what stands there."""

from __future__ import annotations

import pytest

from glowplug.control import placement
from glowplug.core.events import NodeJoined
from glowplug.core.ids import NodeId
from glowplug.core.specs import NodeSpec
from tests.control.world import NODE, World, spec

OTHER = NodeId("there")


@pytest.mark.parametrize(("environment_s", "where"), [(1.0, NODE), (0.0, OTHER)])
def test_an_environment_draws_workers_to_its_node_if_it_takes_time_to_make(
    environment_s: float, where: NodeId
) -> None:
    """Where it takes none they go where most memory is free: else one node would evict beside empty ones."""
    world = World()
    world.parked(spec("first"))
    world.post(NodeJoined(NodeSpec(OTHER, 20_000, 2)))
    world.deploy(spec("second"))
    c = world.state.context
    version = c.store.versions[spec("second").version]
    c.policies.costs.seconds[version.spec.environment_key] = {"environment": environment_s}
    chosen = placement.choose(c, version)
    assert chosen is not None
    assert chosen.id == where
