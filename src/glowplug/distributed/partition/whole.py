"""The whole network as one hypergraph. It sends the fewest rows, and only the total is even.

Nothing keeps a layer's rows apart, so deep networks come out as runs of layers: a pipeline, whose workers
wait for one another unless the samples come in several batches. `Partition.imbalance` shows it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Ids, Network
from glowplug.distributed.partition.hypergraph import Hypergraph, cut
from glowplug.distributed.partition.layered import owners_of_inputs
from glowplug.distributed.partition.result import Partition, Settings, check_workers, partition_of
from glowplug.distributed.partition.twins import Nets, join, readers

MOST_EDGES = 1 << 23  # the graph is in memory at once, about 100 bytes an edge at worst


def whole(network: Network, settings: Settings) -> Partition:
    """The imbalance is that of the workers' total work; the seed changes nothing.

    Raises InvalidArguments for more workers than a layer has rows, and for more than MOST_EDGES.
    """
    workers, imbalance = settings.workers, settings.imbalance
    check_workers(network, workers)
    if network.total_edges > MOST_EDGES:
        raise InvalidArguments(
            f"{network.total_edges} edges: at most {MOST_EDGES} are cut at once, so cut layer by layer",
            "method",
        )
    most_rows = imbalance * sum(network.rows(index) for index in range(network.layers)) / workers
    nets, weights, joined = Nets(), list[int](), list[Ids]()
    above: Iterable[Ids] = [np.empty(0, np.int32)] * network.inputs
    for index in range(network.layers):
        layer = network.layer(index)
        vertices = join(layer, most_rows)
        here = vertices.of_row + np.int32(len(weights))
        for row, pins in zip(above, readers(layer, vertices), strict=True):
            nets.add(np.append(row, pins + np.int32(len(weights))))
        above = here[:, None]
        joined.append(here)
        weights += vertices.weights
    parts = cut(Hypergraph(weights, nets.pins, nets.weights), workers, imbalance)
    owners = tuple(parts[here] for here in joined)
    inputs = owners_of_inputs(network.layer(0), owners[0], workers)
    return partition_of(network, workers, inputs, owners, "whole")
