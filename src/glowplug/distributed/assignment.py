"""An assignment: which worker computes which rows of which samples. Every plan becomes one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Network
from glowplug.distributed.partition.result import Partition
from glowplug.policy.plans.spread import Cut


class Share(msgspec.Struct, frozen=True):
    """Samples `first` to `end`, computed as `partitions[partition]` says: `members[role]` is the worker
    that owns the rows of that role."""

    first: int
    end: int
    partition: int
    members: tuple[int, ...]

    @property
    def samples(self) -> int:
        return self.end - self.first


class Assignment(msgspec.Struct, frozen=True, eq=False):
    """Shares are worked on in their order; each worker takes part in at least one. `relayed`: what most pairs
    of workers send each other goes through the root, which takes one share of all."""

    workers: int
    partitions: tuple[Partition, ...]
    shares: tuple[Share, ...]
    relayed: bool = False


def spread(samples: int, partition: Partition, replicas: int = 1, micro_batches: int = 1) -> Assignment:
    """`replicas` groups, each with the workers of `partition`, share the samples; inside a group they pass in
    `micro_batches`. Every plan is one of these. Raises InvalidArguments for parts without a sample."""
    size = partition.workers
    groups = _split(0, samples, replicas, "replicas")
    shares = [
        Share(*ends, 0, tuple(range(group * size, (group + 1) * size)))
        for group, (first, end) in enumerate(groups)
        for ends in _split(first, end, micro_batches, "micro_batches")
    ]
    return Assignment(size * replicas, (partition,), tuple(shares))


def serial(network: Network, samples: int) -> Assignment:
    """One worker does everything."""
    return spread(samples, stages(network, ()))


def replicas(network: Network, samples: int, workers: int) -> Assignment:
    """Each worker has the whole network and some of the samples."""
    return spread(samples, stages(network, ()), workers)


def pipeline(network: Network, samples: int, cuts: tuple[int, ...], micro_batches: int) -> Assignment:
    """Worker i has the layers from cut i - 1 up to cut i. Raises InvalidArguments for cuts that make none."""
    return spread(samples, stages(network, cuts), 1, micro_batches)


def rows(samples: int, partition: Partition, replicas: int = 1) -> Assignment:
    """Each worker has some rows of every layer; with `replicas`, `hybrid`, so does each of their groups."""
    return spread(samples, partition, replicas)


def of_cut(network: Network, samples: int, cut: Cut, partition: Callable[[int], Partition]) -> Assignment:
    """What a plan was told to be; `partition` makes one of rows over so many workers."""
    inside = partition(cut.rows) if cut.rows > 1 else stages(network, cut.stages)
    found = spread(samples, inside, cut.replicas, cut.micro_batches)
    return msgspec.structs.replace(found, relayed=cut.relayed)


def even_cuts(network: Network, stages: int) -> tuple[int, ...]:
    """Where to cut so that stages have equal numbers of edges, as nearly as whole layers allow."""
    if not 1 <= stages <= network.layers:
        raise InvalidArguments(
            f"{stages} stages: the network has {network.layers} layers, and a stage needs one", "workers"
        )
    done = np.cumsum([network.edges(index) for index in range(network.layers)])
    cuts: list[int] = []
    for stage in range(1, stages):
        nearest = int(np.searchsorted(done, done[-1] * stage / stages)) + 1
        cuts.append(min(max(nearest, (cuts[-1] if cuts else 0) + 1), network.layers - stages + stage))
    return tuple(cuts)


def stages(network: Network, cuts: tuple[int, ...]) -> Partition:
    """Whole layers for each worker. Of the rows that cross nothing is said: `parts` counts what is sent.

    Raises InvalidArguments for cuts that do not rise, or leave a stage without a layer.
    """
    if any(after <= before for before, after in pairwise((0, *cuts, network.layers))):
        raise InvalidArguments(f"cuts {cuts}: each stage of the {network.layers} layers needs one", "cuts")
    stage_of = np.searchsorted(np.array(cuts), np.arange(network.layers), side="right")
    owners = tuple(np.full(network.rows(index), stage_of[index], np.int32) for index in range(network.layers))
    inputs = np.zeros(network.inputs, np.int32)
    return Partition(len(cuts) + 1, inputs, owners, (0,) * network.layers, "stages")


def _split(first: int, end: int, parts: int, name: str) -> list[tuple[int, int]]:
    """A batch of none is a share of none; more parts than samples would leave some without."""
    samples = end - first
    if parts < 1 or (parts > 1 and parts > samples):
        raise InvalidArguments(f"{samples} samples cannot be split into {parts} {name}", name)
    return list(pairwise(first + samples * part // parts for part in range(parts + 1)))
