"""Replays on nodes that know nothing of each other: a router sends each call to one of them, whatever is
loaded there.

A node by itself is a cluster of one, with a controller of its own and its part of the memory. What the nodes'
answers and loads come to is as if they were one cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.sim.replays import Cluster, Replayed, System, replay
from glowplug.sim.workloads.trace import Trace

Router = Literal["knows all", "in turn", "by home"]
"""`knows all` is the controller's own: one for all nodes. `in turn` deals calls out one by one; `by home`
each function's to one node, as many functions to each."""


def replay_routed(
    trace: Trace,
    system: System,
    cluster: Cluster,
    router: Router,
    *,
    seed: int = 0,
    shares_weights: bool = False,
) -> Replayed:
    if router == "knows all":
        return replay(trace, system, cluster, seed=seed, shares_weights=shares_weights)
    alone = msgspec.structs.replace(cluster, nodes=1, memory_share=cluster.memory_share / cluster.nodes)
    nodes = nodes_of(trace, cluster.nodes, router, seed)
    return together(
        [
            replay(part_of(trace, nodes == n), system, alone, seed=seed, shares_weights=shares_weights)
            for n in range(cluster.nodes)
        ]
    )


def nodes_of(trace: Trace, nodes: int, router: Router, seed: int) -> NDArray[np.int64]:
    """(requests,): where each call is sent."""
    if router == "in turn":
        return np.arange(trace.requests) % nodes
    homes = np.random.default_rng(seed).permutation(trace.functions) % nodes
    return homes[trace.function]


def part_of(trace: Trace, kept: NDArray[np.bool_]) -> Trace:
    """Some of the calls; functions keep their numbers."""
    return msgspec.structs.replace(
        trace,
        times_s=trace.times_s[kept],
        function=trace.function[kept],
        columns={name: column[kept] for name, column in trace.columns.items()},
    )


def together(parts: Sequence[Replayed]) -> Replayed:
    kept = [part.kept for part in parts if part.kept is not None]
    return Replayed(
        latencies_s=np.concatenate([part.latencies_s for part in parts]),
        waits_s=np.concatenate([part.waits_s for part in parts]),
        waited=sum(part.waited for part in parts),
        failed=sum(part.failed for part in parts),
        preloaded=sum(part.preloaded for part in parts),
        preloaded_late=sum(part.preloaded_late for part in parts),
        kept=sum(kept) if len(kept) == len(parts) else None,
        started=sum(part.started for part in parts),
        wasted=sum(part.wasted for part in parts),
        wasted_byte_s=sum(part.wasted_byte_s for part in parts),
        cpu_s=sum(part.cpu_s for part in parts),
        loading_s=sum(part.loading_s for part in parts),
        memory_s=parts[0].memory_s,
        memory_bytes=np.sum([part.memory_bytes for part in parts], axis=0),
        steps=np.max([part.steps for part in parts], axis=0),
        held_bytes=np.sum([part.held_bytes for part in parts], axis=0),
    )
