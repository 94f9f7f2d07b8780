"""Layers as hypergraphs: rows that read the same inputs are one vertex, inputs that the same vertices read
one net."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from glowplug.distributed.network import Ids, Layer
from glowplug.distributed.workload.grouping import same_inputs


class Vertices(msgspec.Struct, frozen=True, eq=False):
    """What a layer's rows are joined to. A vertex weighs the edges and rows in it: an activation costs
    about what an edge does."""

    of_row: Ids
    first_row: Ids  # of each vertex
    weights: list[int]


def join(layer: Layer, most_rows: float) -> Vertices:
    """Rows with the same inputs, but no more than `most_rows` to a vertex. A good cut keeps them together
    anyhow; the graph is smaller by as much."""
    order, starts = same_inputs(layer)
    sizes = np.diff(starts)
    pieces = np.ceil(sizes / max(1, int(most_rows))).astype(np.int64)
    place = np.arange(layer.rows) - np.repeat(starts[:-1], sizes)
    piece = place * np.repeat(pieces, sizes) // np.repeat(sizes, sizes)
    starts_vertex = np.diff(piece, prepend=-1) != 0
    starts_vertex[starts[:-1]] = True
    of_row = np.empty(layer.rows, np.int32)
    of_row[order] = np.cumsum(starts_vertex) - 1
    weights = np.bincount(of_row, np.diff(layer.indptr) + 1).astype(np.int64)
    return Vertices(of_row, order[starts_vertex], weights.tolist())


def readers(layer: Layer, vertices: Vertices) -> Iterator[Ids]:
    """The vertices, ascending, that read each input row."""
    one_each = layer.take(vertices.first_row)
    pairs = one_each.indices.astype(np.int64) * one_each.rows
    pairs += np.repeat(np.arange(one_each.rows), np.diff(one_each.indptr))
    inputs, found = np.divmod(np.unique(pairs), one_each.rows)
    ends = np.searchsorted(inputs, np.arange(layer.inputs + 1))
    found = found.astype(np.int32)
    return (found[ends[row] : ends[row + 1]] for row in range(layer.inputs))


class Nets:
    """Nets of which equal ones are one, with their number as its weight. Those of a single vertex cost
    nothing."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}

    def add(self, pins: Ids) -> None:
        if len(pins) > 1:
            key = pins.tobytes()
            self._counts[key] = self._counts.get(key, 0) + 1

    @property
    def pins(self) -> list[list[int]]:
        return [np.frombuffer(key, np.int32).tolist() for key in self._counts]

    @property
    def weights(self) -> list[int]:
        return list(self._counts.values())
