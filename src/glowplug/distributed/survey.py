"""How many bytes messages take: some of each layer are encoded, and a form in rows and samples is fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

import msgspec
import numpy as np

from glowplug.distributed.codec import encode_rows
from glowplug.distributed.facts import Stage, stages
from glowplug.distributed.network import Floats, Ids, Network
from glowplug.distributed.partition.result import Partition, sends
from glowplug.policy.plans.facts import Encoding

Encode = Callable[[Ids, Floats], bytes]
"""Row ids and their activations (rows, samples) as a message's body."""
LOOKED_AT = 24
"""So many messages of a layer are encoded, few rows and many rows alike."""
NOT_LOOKED_AT = Encoding(value_bytes=inf)


class Survey(msgspec.Struct, frozen=True):
    """By layer: the share of samples that enter it alive, and what its output takes, in one message of all
    rows and, by partition, in the messages that are sent."""

    live: tuple[float, ...]
    whole: tuple[Encoding, ...]
    messages: dict[int, tuple[Encoding, ...]]


def survey(
    network: Network,
    x: Floats,
    partitions: Mapping[int, Partition],
    encode: Encode = encode_rows,
    looked_at: int = LOOKED_AT,
    *,
    with_whole: bool = True,
) -> Survey:
    """One pass of `x` (inputs, samples) over the network, for all partitions at once.

    Messages are encoded of all of these samples and of every other one, so that the form holds for more.
    Without `with_whole` those of all rows are left out, which plans of whole layers need.
    """
    live, whole = [], []
    messages: dict[int, list[Encoding]] = {workers: [] for workers in partitions}
    for stage in stages(network, x):
        live.append(stage.live)
        everything = np.arange(network.rows(stage.index), dtype=np.int32)
        whole.append(_fitted(stage, [everything], encode) if with_whole else NOT_LOOKED_AT)
        for workers, partition in partitions.items():
            sent = _some_sent(network, partition, stage.index, looked_at)
            messages[workers].append(_fitted(stage, sent, encode))
    return Survey(tuple(live), tuple(whole), {workers: tuple(found) for workers, found in messages.items()})


def _some_sent(network: Network, partition: Partition, index: int, looked_at: int) -> list[Ids]:
    """The rows of some of the messages after a layer; after the last, of some workers' results."""
    if index + 1 == network.layers:
        workers = min(partition.workers, looked_at)
        return [rows for worker in range(workers) if len(rows := partition.rows_of(worker, index))]
    crossing = sends(
        network.layer(index + 1), partition.owners[index], partition.owners[index + 1], partition.workers
    )
    ordered = sorted(crossing.values(), key=len)
    places = np.linspace(0, len(ordered) - 1, min(looked_at, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def _fitted(stage: Stage, messages: Sequence[Ids], encode: Encode) -> Encoding:
    from scipy.optimize import nnls

    terms, sizes = [], []
    for rows in messages:
        for every in (2, 1):
            there, values = stage.rows(rows, every)
            many = values.shape[1]
            sizes.append(len(encode(there, values)) if len(there) else 0)
            terms.append((1.0, many, len(rows), len(rows) * many))
    if not sizes:
        return Encoding(value_bytes=0.0)
    matrix = np.array(terms, np.float64)
    scale = matrix.max(axis=0)
    found, _ = nnls(matrix / scale, np.array(sizes, np.float64))
    return Encoding(*(float(each) for each in found / scale))
