"""Partitions that look at nothing: what the hypergraph is measured against."""

from __future__ import annotations

import numpy as np

from glowplug.distributed.network import Ids, Network
from glowplug.distributed.partition.result import Partition, Settings, check_workers, partition_of


def block(network: Network, settings: Settings) -> Partition:
    """Neighbouring rows together, in equal runs."""
    workers = settings.workers
    check_workers(network, workers)
    owners = tuple(_runs(network.rows(index), workers) for index in range(network.layers))
    return partition_of(network, workers, _runs(network.inputs, workers), owners, "block")


def random(network: Network, settings: Settings) -> Partition:
    """Parts of equal numbers of rows, drawn at random."""
    workers = settings.workers
    check_workers(network, workers)
    rng = np.random.default_rng(settings.seed)
    inputs = rng.permutation(_runs(network.inputs, workers))
    owners = tuple(rng.permutation(_runs(network.rows(index), workers)) for index in range(network.layers))
    return partition_of(network, workers, inputs, owners, "random")


def _runs(rows: int, workers: int) -> Ids:
    return (np.arange(rows, dtype=np.int64) * workers // rows).astype(np.int32)
