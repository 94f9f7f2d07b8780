"""Layer by layer, the owners of the inputs fixed: every row that is sent costs one, and is counted once.

A vertex is a row, a net is an input row with those that read it and with its owner, a vertex that cannot
move. So the cut is the number of rows sent, to the row.
"""

from __future__ import annotations

import numpy as np

from glowplug.distributed.network import Ids, Layer, Network
from glowplug.distributed.partition.hypergraph import Hypergraph, cut
from glowplug.distributed.partition.result import Partition, Settings, check_workers, partition_of, reads_of
from glowplug.distributed.partition.twins import Nets, join, readers


def layered(network: Network, settings: Settings) -> Partition:
    """One answer: the seed changes nothing. Raises InvalidArguments for more workers than a layer has
    rows."""
    workers = settings.workers
    check_workers(network, workers)
    first = network.layer(0)
    owners = [_cut_layer(first, None, settings)]
    inputs = owners_of_inputs(first, owners[0], workers)
    for index in range(1, network.layers):
        owners.append(_cut_layer(network.layer(index), owners[-1], settings))
    return partition_of(network, workers, inputs, tuple(owners), "layered")


def _cut_layer(layer: Layer, sources: Ids | None, settings: Settings) -> Ids:
    workers = settings.workers
    vertices = join(layer, settings.imbalance * layer.rows / workers)
    nets = Nets()
    for row, pins in enumerate(readers(layer, vertices)):
        owner = [] if sources is None else [np.int32(len(vertices.weights) + sources[row])]
        nets.add(np.append(pins, owner).astype(np.int32))
    fixed = 0 if sources is None else workers
    # They weigh 1, which is next to nothing beside 33: those that weigh 0 the solver moves.
    graph = Hypergraph(vertices.weights + [1] * fixed, nets.pins, nets.weights, fixed)
    return cut(graph, workers, settings.imbalance)[vertices.of_row]


def owners_of_inputs(layer: Layer, owners: Ids, workers: int) -> Ids:
    """An input row of the network goes to one of those that read it: the one that has fewest so far."""
    reads = reads_of(layer, owners, workers)
    reads[~reads.any(axis=1)] = True
    held = [0] * workers
    found = np.empty(layer.inputs, np.int32)
    for row in range(layer.inputs):
        found[row] = min(np.flatnonzero(reads[row]).tolist(), key=held.__getitem__)
        held[found[row]] += 1
    return found
