"""Facts of a network, its inputs and a partition, counted for the planner. Needs numba for those of a
workload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.network import Floats, Ids, Layer, Network
from glowplug.distributed.partition.result import Partition, sends
from glowplug.policy.plans.facts import Counts, Encoding, LayerFacts, PartitionFacts, WorkloadFacts

EDGE_BYTES = 8
"""A weight and the input that it is for."""
ROW_BYTES = 12
"""A row's bias, and where its edges begin."""


class Stage(msgspec.Struct, frozen=True, eq=False):
    """A layer's output over the samples that still live; `columns` are those of all `samples`."""

    index: int
    live: float
    values: Floats
    columns: NDArray[np.int64]
    samples: int

    def rows(self, rows: Ids, every: int = 1) -> tuple[Ids, Floats]:
        """Some rows over each `every`-th sample, dead ones included, as they are sent: by their positions
        among those that might be sent, without rows of zeros."""
        inside = self.columns % every == 0
        picked = self.values[rows][:, inside]
        there = np.flatnonzero(picked.any(axis=1)).astype(np.int32)
        found = np.zeros((len(there), -(-self.samples // every)), np.float32)
        found[:, self.columns[inside] // every] = picked[there]
        return there, found


def stages(network: Network, x: Floats) -> Iterator[Stage]:
    """Every layer's output in turn: one pass over the network, by one worker."""
    from glowplug.distributed.workload.kernel import forward

    samples = x.shape[1]
    columns, keeps_zeros = np.arange(samples), network.keeps_zeros
    for index in range(network.layers):
        if keeps_zeros:
            live = x.any(axis=0)
            x, columns = np.ascontiguousarray(x[:, live]), columns[live]
        share = len(columns) / max(1, samples)
        x = forward(network.layer(index), x, network.activation(index))
        yield Stage(index, share, x, columns, samples)


def workload_facts(
    name: str, network: Network, samples: int, live: Sequence[float], whole: Sequence[Encoding]
) -> WorkloadFacts:
    """Of a network on so many samples; `live` and `whole` by layer, from a `survey`."""
    leaving = [*live[1:], live[-1]]
    return WorkloadFacts(
        name=name,
        samples=samples,
        input_rows=network.inputs,
        layers=tuple(
            LayerFacts(
                rows=network.rows(index),
                edges=network.edges(index),
                weights_bytes=EDGE_BYTES * network.edges(index) + ROW_BYTES * network.rows(index),
                live=live[index],
                live_out=leaving[index],
                output=whole[index],
            )
            for index in range(network.layers)
        ),
    )


def partition_facts(network: Network, partition: Partition, messages: Sequence[Encoding]) -> PartitionFacts:
    """Counts; one pass over the layers, of which two are held at a time. `messages` by layer, from a
    `survey`."""
    layers, workers = network.layers, partition.workers
    edges, urgent, late, remote = (np.zeros((layers, workers), np.int64) for _ in range(4))
    sent = np.zeros((layers, workers, workers), np.int64)
    weights, held, computed = (np.zeros(workers, np.int64) for _ in range(3))
    layer = network.layer(0)
    for index in range(layers):
        following = network.layer(index + 1) if index + 1 < layers else None
        owners = partition.owners[index]
        fan_in = np.diff(layer.indptr)
        away = np.zeros(layer.edges, np.bool_)
        if index:
            away = partition.sources(index)[layer.indices] != np.repeat(owners, fan_in)
        waits = np.add.reduceat(np.append(away, False), layer.indptr[:-1])[: layer.rows] * (fan_in > 0) > 0
        wanted = np.zeros(layer.rows, np.bool_)
        if following is not None:
            for (source, target), rows in sends(
                following, owners, partition.owners[index + 1], workers
            ).items():
                sent[index + 1, source, target] = len(rows)
                wanted[rows] = True
        edges[index] = np.bincount(owners, fan_in, workers)
        urgent[index] = np.bincount(owners, fan_in * (waits & wanted), workers)
        late[index] = np.bincount(owners, fan_in * (waits & ~wanted), workers)
        remote[index] = np.bincount(np.repeat(owners, fan_in), away, workers)
        own = np.bincount(owners, minlength=workers)
        weights += EDGE_BYTES * edges[index] + ROW_BYTES * own
        computed += own
        held = np.maximum(held, np.maximum(own, _held(layer, partition, index, sent[index])))
        if following is not None:
            layer = following
    return PartitionFacts(
        workers=workers,
        method=partition.method,
        edges=edges,
        urgent_edges=urgent,
        late_edges=late,
        remote_edges=remote,
        sent=sent,
        weights_bytes=weights,
        rows=computed,
        held_rows=held,
        input_rows=_read(network.layer(0), partition.owners[0], workers),
        result_rows=np.bincount(partition.owners[-1], minlength=workers),
        messages=tuple(messages),
    )


def _held(layer: Layer, partition: Partition, index: int, sent: Counts) -> Counts:
    """What each worker reads a layer from: all that it computed before, and what came; or the network's
    input."""
    if not index:
        return _read(layer, partition.owners[0], partition.workers)
    held: Counts = np.bincount(partition.owners[index - 1], minlength=partition.workers) + sent.sum(axis=0)
    return held


def _read(layer: Layer, owners: Ids, workers: int) -> Counts:
    """How many rows of a layer's input each worker reads."""
    wanted = np.zeros((workers, layer.inputs), np.bool_)
    wanted[np.repeat(owners, np.diff(layer.indptr)), layer.indices] = True
    read: Counts = wanted.sum(axis=1)
    return read
