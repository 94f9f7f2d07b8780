"""A partition: the owner of every row, what must be sent, and how even it is."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Ids, Layer, Network


class Settings(msgspec.Struct, frozen=True):
    """What a method is told. `imbalance`: by how much the heaviest part of a layer may be above the mean,
    as far as whole rows allow."""

    workers: int
    imbalance: float = 0.03
    seed: int = 0


class Partition(msgspec.Struct, frozen=True, eq=False):
    """`inputs[i]` is the worker that holds input row i, `owners[l][r]` the one that computes row r of layer
    l."""

    workers: int
    inputs: Ids
    owners: tuple[Ids, ...]
    rows_sent: tuple[int, ...]  # per layer: rows that cross before it, counted once for each target
    method: str

    @property
    def total_rows_sent(self) -> int:
        return sum(self.rows_sent)

    @property
    def imbalance(self) -> float:
        """The largest part of any layer over the mean part, less 1: each layer waits for its slowest
        worker."""
        return max(_imbalance(owner, self.workers) for owner in self.owners)

    def sources(self, layer: int) -> Ids:
        """The owner of each row that a layer reads."""
        return self.owners[layer - 1] if layer else self.inputs

    def rows_of(self, worker: int, layer: int) -> Ids:
        """The rows of a layer that a worker computes, ascending."""
        return np.flatnonzero(self.owners[layer] == worker).astype(np.int32)


def _imbalance(owner: Ids, workers: int) -> float:
    return float(np.bincount(owner, minlength=workers).max()) * workers / len(owner) - 1


def sends(layer: Layer, sources: Ids, owners: Ids, workers: int) -> dict[tuple[int, int], Ids]:
    """(source, target) -> the input rows, ascending, that target needs of source; pairs without are
    absent."""
    rows, targets = _crossing(layer, sources, owners, workers)
    if not len(rows):
        return {}
    pairs = sources[rows].astype(np.int64) * workers + targets
    order = np.lexsort((rows, pairs))
    pairs, rows = pairs[order], rows[order]
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    parts = np.split(rows, starts[1:])
    return {divmod(int(pairs[start]), workers): part for start, part in zip(starts, parts, strict=True)}


def count_sent(layer: Layer, sources: Ids, owners: Ids, workers: int) -> int:
    return len(_crossing(layer, sources, owners, workers)[0])


def reads_of(layer: Layer, owners: Ids, workers: int) -> NDArray[np.bool_]:
    """(inputs, workers): which workers read an input row."""
    reads = np.zeros((layer.inputs, workers), np.bool_)
    reads[layer.indices, np.repeat(owners, np.diff(layer.indptr))] = True
    return reads


def _crossing(layer: Layer, sources: Ids, owners: Ids, workers: int) -> tuple[Ids, Ids]:
    """Each (input row, target) once where the target is not the row's owner."""
    wanted = reads_of(layer, owners, workers)
    wanted[np.arange(layer.inputs), sources] = False
    rows, targets = np.nonzero(wanted)
    return rows.astype(np.int32), targets.astype(np.int32)


def partition_of(
    network: Network, workers: int, inputs: Ids, owners: tuple[Ids, ...], method: str
) -> Partition:
    """Counts what the owners make necessary."""
    sent, sources = [], inputs
    for index, owner in enumerate(owners):
        sent.append(count_sent(network.layer(index), sources, owner, workers))
        sources = owner
    return Partition(workers, inputs, owners, tuple(sent), method)


def check_workers(network: Network, workers: int) -> None:
    """Raises InvalidArguments where some worker would have no row."""
    narrowest = min(network.rows(index) for index in range(network.layers))
    if not 1 <= workers <= narrowest:
        raise InvalidArguments(
            f"{workers} workers: the narrowest layer has {narrowest} rows, so take 1 to {narrowest}",
            "workers",
        )
