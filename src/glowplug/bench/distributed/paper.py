"""FSD-Inference re-made as published, where its messages and its time are concerned; its channels are
`paper_queue` and `paper_object`.

What its papers do not say: the text (rows of columns and values, compressed, and on the queue written as text
again, which makes 2.95 times as many bytes), and its partition. How far that is from ours is fitted, for each
size of network, to the one published run that tells its rows, and held for all numbers of workers.
"""

from __future__ import annotations

import zlib

import msgspec
import numpy as np

from glowplug.distributed.calibration import LIVES, codec_costs, fastest, some_activations
from glowplug.distributed.network import Floats, Ids, Network
from glowplug.distributed.partition.result import Partition, partition_of
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.policy.plans.facts import PartitionFacts, Problem
from glowplug.policy.plans.model import MachineModel
from glowplug.policy.plans.rows import by_rows
from glowplug.policy.plans.spread import Spread

ROWS_SENT = 430_073
"""As published, at N = 1024 and P = 8."""
SHUFFLED = {1024: 0.149, 4096: 0.086, 16384: 0.05, 65536: 0.05}
"""By neurons: with this share of each layer's rows exchanged, our partition sends ROWS_SENT at N = 1024; at
N = 16384 and P = 42 10.7 % of the rows that a random one does, as published by their bytes. Nothing was
published of 4096, which lies between, nor of 65536."""
_LEVEL = 3
_SAMPLES = 512


def text_on_queue(rows: Ids, values: Floats) -> bytes:
    """Compressed text, written as text. On this channel they sent fp32."""
    return repr(zlib.compress(_text(rows, values), _LEVEL)).encode()


def text_in_object(rows: Ids, values: Floats) -> bytes:
    """On this channel they sent fp64."""
    return zlib.compress(_text(rows, values.astype(np.float64)), _LEVEL)


def _text(rows: Ids, values: Floats | np.ndarray) -> bytes:
    """Numbers have the digits that their type needs: some eight in fp32, where fp64 has up to seventeen."""
    digits = _fp32_digits if values.dtype == np.float32 else _fp64_digits
    found = []
    for row, activations in zip(rows.tolist(), values, strict=True):
        columns = np.flatnonzero(activations)
        found.append(f"({row}, {columns.tolist()}, {digits(activations[columns])})")
    return f"[{', '.join(found)}]".encode()


def _fp32_digits(numbers: Floats) -> str:
    return f"[{', '.join(map(str, numbers))}]"


def _fp64_digits(numbers: np.ndarray) -> str:
    return str(numbers.tolist())


def as_published(network: ChallengeNetwork, partition: Partition, seed: int = 0) -> Partition:
    """`partition` with SHUFFLED of the rows exchanged at random, in those layers alone that are permuted: in
    the others as few pairs of workers exchange anything as with ours, by the objects that were put."""
    rng = np.random.default_rng(seed)
    share = SHUFFLED[network.neurons]
    owners = []
    for index, layer in enumerate(partition.owners):
        mixed = layer.copy()
        if index >= network.permuted_from:
            chosen = rng.permutation(len(layer))[: round(share * len(layer))]
            mixed[chosen] = rng.permutation(mixed[chosen])
        owners.append(mixed)
    return partition_of(network, partition.workers, partition.inputs, tuple(owners), "as published")


def machine(network: Network, ours: MachineModel) -> MachineModel:
    """Their worker on this machine's core: sparse matrices of scipy, text with Python's own reader."""
    encode, decode = codec_costs(text_in_object, _read)
    return msgspec.structs.replace(
        ours, rates=tuple((live, _rate(network, live)) for live in LIVES), encode=encode, decode=decode,
        encode_whole=None, decode_whole=None,
    )  # fmt: skip


def _read(body: bytes, rows: int, samples: int) -> object:
    """They evaluate what arrives; compiling it is what that takes, and running it would be worse."""
    return compile(zlib.decompress(body), "message", "eval")


def _rate(network: Network, live: float) -> float:
    from scipy.sparse import csr_array

    index = network.layers // 2
    layer, cap = network.layer(index), network.activation(index).cap
    weights = csr_array((layer.values, layer.indices, layer.indptr), shape=(layer.rows, layer.inputs))
    x = csr_array(some_activations(layer.inputs, _SAMPLES, live))

    def work() -> None:
        z = weights @ x
        z.data = np.where(z.data != 0, z.data + layer.bias[0], z.data)
        z.data = np.clip(z.data, 0, cap)

    return layer.edges * _SAMPLES / fastest(work, 2)


def paper_rows(problem: Problem, partition: PartitionFacts) -> Spread:
    """Theirs: after all rows of a layer are sent, a worker multiplies its own part of the next, and what
    came last."""
    spread = by_rows(problem, partition)
    urgent, idle = np.zeros(spread.urgent_s.shape), np.zeros(spread.idle_s.shape)
    samples = problem.workload.samples
    own = (partition.edges - partition.remote_edges).astype(float)
    for index in range(len(urgent)):
        urgent[index] += problem.layer_s(index, partition.remote_edges[index].astype(float), samples)
        before = idle[index - 1] if index else urgent[0]
        before += problem.layer_s(index, own[index], samples)
    return msgspec.structs.replace(spread, urgent_s=urgent, idle_s=idle)
