"""From a network and some of its inputs to what a planner looks at. Needs numba, scipy and mtkahypar.

Layers of a deep network are alike after the first ones: only so many are cut and run, and the others are
taken to be as the last of those. That is exact for no network, and near for the challenge's, whose later
layers are permuted at random. Where later layers have other numbers of rows or edges, all are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.codec import encode_rows
from glowplug.distributed.facts import partition_facts, workload_facts
from glowplug.distributed.network import Activation, Floats, Layer, Network
from glowplug.distributed.partition.methods import partition
from glowplug.distributed.partition.result import Partition
from glowplug.distributed.sample_order import by_input
from glowplug.distributed.survey import LOOKED_AT, Encode, survey
from glowplug.policy.plans.facts import PartitionFacts, Problem
from glowplug.policy.plans.model import MachineModel

HEAD = 24
"""By then the challenge's samples have died or saturated."""
_PERIOD = 4
"""Layers after the head are taken to repeat this many of its last layers. The very last is left out: nobody
reads its rows."""


class Head(Network):
    """The first layers of a network."""

    def __init__(self, network: Network, layers: int) -> None:
        if not 1 <= layers <= network.layers:
            raise InvalidArguments(f"a head of {layers} of {network.layers} layers: take 1 to all of them")
        self._network = network
        self.inputs = network.inputs
        self.layers = layers

    def layer(self, index: int) -> Layer:
        return self._network.layer(index)

    def activation(self, index: int) -> Activation:
        return self._network.activation(index)

    @property
    def keeps_zeros(self) -> bool:
        return self._network.keeps_zeros

    def rows(self, index: int) -> int:
        return self._network.rows(index)

    def edges(self, index: int) -> int:
        return self._network.edges(index)

    @property
    def digest(self) -> str:
        whole = self._network.digest
        return whole if self.layers == self._network.layers else f"{whole}-first-{self.layers}"


def looked_at_first(network: Network, head: int) -> int:
    """So many layers; all of them where those behind the head are not of the size of its last."""
    if network.layers <= head:
        return network.layers
    sizes = {(network.rows(index), network.edges(index)) for index in range(head - 1, network.layers)}
    return head if len(sizes) == 1 else network.layers


def look(
    network: Network,
    x: Floats,
    samples: int,
    machine: MachineModel,
    workers: Sequence[int],
    folder: Path | None = None,
    head: int = HEAD,
    tell: Callable[[str], None] = lambda _: None,
    method: str = "layered",
) -> Problem:
    """`x` (inputs, some samples) is a fair draw of all `samples`. Rows are cut by `method` over each of
    `workers` above 1 that the layers allow; `folder` keeps partitions."""
    first = Head(network, looked_at_first(network, head))
    narrowest = min(first.rows(index) for index in range(first.layers))
    partitions: dict[int, Partition] = {}
    for many in sorted(set(workers)):
        if 1 < many <= narrowest:
            tell(f"cutting rows over {many} workers")
            partitions[many] = partition(first, many, method, folder=folder)
    tell("running some samples")
    return surveyed(network, x, samples, machine, partitions, head)


def surveyed(
    network: Network,
    x: Floats,
    samples: int,
    machine: MachineModel,
    partitions: Mapping[int, Partition],
    head: int = HEAD,
    encode: Encode = encode_rows,
    looked_at: int = LOOKED_AT,
    *,
    with_whole: bool = True,
    in_order: bool = True,
) -> Problem:
    """With partitions, by workers, of all layers or of the head alone; messages as `encode` makes them, of
    samples in the order that runs have, unless `in_order` is False. Without `with_whole` only plans by rows
    can be made of it."""
    first = Head(network, looked_at_first(network, head))
    layers = followed(first.layers, network.layers)
    x = np.take(x, by_input(x), axis=1) if in_order else x
    seen = survey(first, x, partitions, encode, looked_at, with_whole=with_whole)
    facts = workload_facts(network.name, first, samples, seen.live, seen.whole)
    found = {}
    for many, each in partitions.items():
        messages = seen.messages[many]
        if len(each.owners) == network.layers:
            found[many] = partition_facts(network, each, [messages[index] for index in layers])
        else:
            found[many] = _longer(partition_facts(first, each, messages), layers)
    workload = msgspec.structs.replace(facts, layers=tuple(facts.layers[index] for index in layers))
    return Problem(workload, machine, found)


def followed(head: int, layers: int) -> list[int]:
    """Which layer of the head stands for each of all layers; the last one for the last."""
    if layers <= head:
        return list(range(layers))
    period = max(1, min(_PERIOD, head - 2))
    tail = [max(0, head - 1 - period) + index % period for index in range(layers - head)]
    return [*range(head - 1), *tail, head - 1]


def _longer(facts: PartitionFacts, layers: Sequence[int]) -> PartitionFacts:
    """Of a head's partition, what holds for all layers."""
    chosen = np.array(layers)
    weights = facts.weights_bytes * (len(layers) / len(facts.edges))
    return msgspec.structs.replace(
        facts,
        **{name: getattr(facts, name)[chosen] for name in _BY_LAYER},
        weights_bytes=weights.astype(np.int64),
        messages=tuple(facts.messages[index] for index in layers),
    )


_BY_LAYER = ("edges", "urgent_edges", "late_edges", "remote_edges", "sent")
