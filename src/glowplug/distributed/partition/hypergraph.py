"""Cutting a hypergraph into parts of equal weight with Mt-KaHyPar, the same way every time."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np

from glowplug.distributed.network import Ids


class Hypergraph(msgspec.Struct, frozen=True, eq=False):
    """Vertices with weights, and nets over them with weights: what a net costs is its weight times the
    parts it touches, less one."""

    vertex_weights: list[int]
    nets: list[list[int]]
    net_weights: list[int]
    fixed: int = 0
    """The last so many vertices are in parts 0, 1, ... by decree."""


def cut(hypergraph: Hypergraph, parts: int, imbalance: float) -> Ids:
    """The part of each vertex that is not fixed. One thread and the deterministic preset: the others differ
    from run to run even on one thread. Needs mtkahypar.
    """
    free = len(hypergraph.vertex_weights) - hypergraph.fixed
    if parts == 1 or not hypergraph.nets:
        return (np.arange(free) * parts // max(1, free)).astype(np.int32)
    import mtkahypar

    solver = _solver()
    context = solver.context_from_preset(mtkahypar.PresetType.DETERMINISTIC)
    context.set_partitioning_parameters(parts, imbalance, mtkahypar.Objective.KM1)
    context.logging = False
    graph = solver.create_hypergraph(
        context, len(hypergraph.vertex_weights), len(hypergraph.nets), hypergraph.nets,
        hypergraph.vertex_weights, hypergraph.net_weights,
    )  # fmt: skip
    if hypergraph.fixed:
        graph.add_fixed_vertices([-1] * free + list(range(hypergraph.fixed)), parts)
    return np.array(graph.partition(context).get_partition()[:free], np.int32)


@cache
def _solver() -> Any:
    import mtkahypar

    return mtkahypar.initialize(1)
