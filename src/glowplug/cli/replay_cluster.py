"""How many nodes of which memory `glowplug replay` simulates."""

from __future__ import annotations

from math import ceil

from glowplug.core.errors import InvalidArguments
from glowplug.core.units import show_bytes
from glowplug.sim.footprints import PUBLISHED
from glowplug.sim.replays import Cluster, System, all_loaded_bytes, least_node_bytes
from glowplug.sim.workloads.trace import Trace

_NODES, _SHARE = 4, 0.25
"""Without --nodes and --memory, where that is enough for each function."""
_MOST_SHARE = 1e5
"""As many nodes as there may be, each with room for all."""


def cluster_of(trace: Trace, systems: list[System], nodes: int | None, share: float | None) -> Cluster:
    """What was given, and of the rest so few nodes, and if need be so much memory, that each of the functions
    that are called can run on a node. Raises InvalidArguments where what was given does not let it."""
    all_bytes, least_bytes = all_loaded_bytes(PUBLISHED, trace.functions), least_node_bytes(trace, systems)
    most = int(all_bytes * (_SHARE if share is None else share) / least_bytes)
    if nodes is None:
        nodes = max(1, min(_NODES, most))
    if nodes <= most:
        return Cluster(nodes=nodes, memory_share=_SHARE if share is None else share)
    if share is None:
        return Cluster(nodes=nodes, memory_share=(least_bytes + 1) * nodes / all_bytes)
    node_bytes = Cluster(nodes=nodes, memory_share=share).node_bytes(PUBLISHED, trace.functions)
    each = "the node" if nodes == 1 else f"each of {nodes} nodes"
    fewer = f", or --nodes {most}" if most else ""
    raise InvalidArguments(
        f"--memory: {each} would have {show_bytes(node_bytes)}, and the largest function needs "
        f"{show_bytes(least_bytes)} with its libraries: give at least --memory "
        f"{ceil(100 * (least_bytes + 1) * nodes / all_bytes)}%{fewer}",
        "memory",
    )


def share_of(memory: str) -> float:
    """Of `25%` or `0.25`. Raises InvalidArguments."""
    text = memory.strip()
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        share = 0.0
    if not 0.0 < share <= _MOST_SHARE:
        most = f"{_MOST_SHARE:.0%}"
        raise InvalidArguments(
            f"--memory: {memory} is not a share such as 25% or 0.25, up to {most}", "memory"
        )
    return share
