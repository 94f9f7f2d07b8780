"""Nodes that know nothing of each other: every call goes to one of them."""

from __future__ import annotations

import numpy as np
import pytest

from glowplug.sim.apart import Router, nodes_of, part_of, replay_routed
from glowplug.sim.replays import Cluster, System, replay
from glowplug.sim.workloads.registry import make_trace

TRACE = make_trace("zipf:functions=12,rate_per_min=20,minutes=20", 5)
FOUR = Cluster(nodes=4, memory_share=4.0)
LOADS_ALWAYS = System("fixed", helpers=False, keeps_loaded=False)


@pytest.mark.parametrize("router", ["in turn", "by home"])
def test_every_call_is_answered_at_one_node(router: Router) -> None:
    nodes = nodes_of(TRACE, 4, router, 5)
    parts = [part_of(TRACE, nodes == number) for number in range(4)]
    assert sum(part.requests for part in parts) == TRACE.requests
    assert {part.functions for part in parts} == {TRACE.functions}
    found = replay_routed(TRACE, LOADS_ALWAYS, FOUR, router, seed=5)
    assert len(found.waits_s) == TRACE.requests
    assert found.failed == 0


def test_a_home_is_one_node_and_all_have_as_many_functions() -> None:
    nodes = nodes_of(TRACE, 4, "by home", 5)
    homes = {f: set(nodes[TRACE.function == f].tolist()) for f in range(TRACE.functions)}
    assert all(len(home) == 1 for home in homes.values() if home)
    everybody = nodes_of(make_trace("zipf:functions=12,rate_per_min=600,minutes=20", 5), 4, "by home", 5)
    assert set(everybody.tolist()) == {0, 1, 2, 3}


def test_what_one_node_loaded_another_does_not_have() -> None:
    kept = System("fixed", helpers=False)
    together, apart = (
        replay_routed(TRACE, kept, FOUR, router, seed=5) for router in ("knows all", "in turn")
    )
    assert together.kept is not None
    assert apart.kept is not None
    assert apart.kept < together.kept
    assert apart.waits_s.mean() > together.waits_s.mean()


def test_one_router_is_the_controllers_own() -> None:
    ours, plain = (
        replay_routed(TRACE, LOADS_ALWAYS, FOUR, "knows all", seed=5),
        replay(TRACE, LOADS_ALWAYS, FOUR, seed=5),
    )
    assert np.array_equal(ours.waits_s, plain.waits_s)
