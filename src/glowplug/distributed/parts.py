"""A worker's part of a network: its rows of every layer, what it is sent for them, what it sends."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from glowplug.distributed.network import Activation, Ids, Layer, Network
from glowplug.distributed.partition.result import Partition, sends

Crossing = dict[tuple[int, int], Ids]
"""(source, target) -> the input rows of a layer, ascending, that go from one role to another."""


class Group(msgspec.Struct, frozen=True, eq=False):
    """Rows computed in one go: into `slots` of the output. They wait for other workers, or do not; others
    wait for them, or do not."""

    layer: Layer
    slots: Ids
    waits: bool
    urgent: bool


class Flow(msgspec.Struct, frozen=True, eq=False):
    """`rows` to or from a role: global input rows as they are received, slots of the output as they are
    sent."""

    role: int
    rows: Ids


class PartLayer(msgspec.Struct, frozen=True, eq=False):
    """One layer for one role. Its x is the role's output of the layer before, then what each source sends, in
    their order; `reads` instead, rows of the network's input, at layer 0."""

    index: int
    rows: Ids  # the output rows, ascending
    kept: int  # rows at the head of x
    reads: Ids
    sources: tuple[Flow, ...]
    targets: tuple[Flow, ...]
    groups: tuple[Group, ...]
    activation: Activation

    @property
    def present(self) -> int:
        """Rows of x that need no other worker."""
        return self.kept + len(self.reads)

    @property
    def height(self) -> int:
        """Rows of x."""
        return self.present + sum(len(flow.rows) for flow in self.sources)

    @property
    def weights_bytes(self) -> int:
        return sum(group.layer.nbytes + group.slots.nbytes for group in self.groups)


def part_layers(network: Network, partition: Partition) -> Iterator[list[PartLayer | None]]:
    """For each layer, the part of each role, None where it has no rows. Holds two layers at a time."""
    layer = network.layer(0)
    arriving: Crossing = {}
    for index in range(network.layers):
        following = network.layer(index + 1) if index + 1 < network.layers else None
        leaving: Crossing = {}
        if following is not None:
            leaving = sends(
                following, partition.owners[index], partition.owners[index + 1], partition.workers
            )
        yield [
            _part_layer(layer, network.activation(index), partition, index, role, arriving, leaving)
            for role in range(partition.workers)
        ]
        if following is not None:
            layer, arriving = following, leaving


def _part_layer(
    layer: Layer, activation: Activation, partition: Partition, index: int, role: int,
    arriving: Crossing, leaving: Crossing,
) -> PartLayer | None:  # fmt: skip
    rows = partition.rows_of(role, index)
    if not len(rows):
        return None
    mine = layer.take(rows)
    none = np.empty(0, np.int32)
    kept = partition.rows_of(role, index - 1) if index else none
    reads = none if index else mine.needed()
    sources = tuple(
        Flow(source, arriving[source, target]) for source, target in sorted(arriving) if target == role
    )
    local = mine.over(np.concatenate([kept, reads, *(flow.rows for flow in sources)]))
    targets = tuple(
        Flow(target, np.searchsorted(rows, leaving[source, target]).astype(np.int32))
        for source, target in sorted(leaving)
        if source == role
    )
    present = len(kept) + len(reads)
    groups = _groups(local, present, targets)
    return PartLayer(index, rows, len(kept), reads, sources, targets, groups, activation)


def _groups(layer: Layer, present: int, targets: tuple[Flow, ...]) -> tuple[Group, ...]:
    """At most four, those that others wait for first."""
    urgent = np.zeros(layer.rows, np.bool_)
    for flow in targets:
        urgent[flow.rows] = True
    waits = np.zeros(layer.rows, np.bool_)
    remote = np.flatnonzero(layer.indices >= present)
    waits[np.searchsorted(layer.indptr, remote, side="right") - 1] = True
    found = []
    for is_waiting in (False, True):
        for is_urgent in (True, False):
            slots = np.flatnonzero((waits == is_waiting) & (urgent == is_urgent)).astype(np.int32)
            if len(slots):
                some = layer.take(slots)
                if not is_waiting:
                    some = msgspec.structs.replace(some, inputs=present)
                found.append(Group(some, slots, is_waiting, is_urgent))
    return tuple(found)
