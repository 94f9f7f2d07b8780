"""A whole network on one worker: the result that every plan must give, bit for bit."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.workload.kernel import Kernel

# So many layers for so many samples at a time, which come out of memory and go back once for all of them.
BLOCK_LAYERS = 8
CHUNK_SAMPLES = 512


def serial(network: Network, x: Floats, threads: int = 1) -> Floats:
    """`x` (network.inputs, samples) -> (rows of the last layer, samples). Layers are built a few at a time.

    x is left as it is; a second array of its size is worked in. Samples that have died out are left out from
    then on. Raises InvalidArguments where x does not fit.
    """
    if x.ndim != 2 or x.shape[0] != network.inputs:
        raise InvalidArguments(f"the network reads {network.inputs} rows, but is given {x.shape}")
    samples = x.shape[1]
    columns, keeps_zeros = np.arange(samples), network.keeps_zeros
    out = None
    with ThreadPoolExecutor(threads) as executor:
        for first in range(0, network.layers, BLOCK_LAYERS):
            block = range(first, min(first + BLOCK_LAYERS, network.layers))
            kernels = [Kernel(network.layer(index), network.activation(index)) for index in block]
            rows = kernels[-1].layer.rows
            if out is None or len(out) != rows:
                out = np.empty((rows, len(columns)), np.float32)
            _through(kernels, x, out, executor)
            if keeps_zeros:
                out, columns = _without_dead(out, columns)
            x = out
    if len(columns) == samples:
        return x
    full = np.zeros((len(x), samples), np.float32)
    full[:, columns] = x
    return full


def _through(kernels: list[Kernel], x: Floats, out: Floats, executor: Executor) -> None:
    """`out` may be x: each chunk is a copy."""

    def run(chunk: slice) -> None:
        y = np.array(x[:, chunk], np.float32, order="C")
        for kernel in kernels:
            y = kernel(y, y if kernel.layer.rows == len(y) else None)
        out[:, chunk] = y

    samples = x.shape[1]
    chunks = (slice(start, start + CHUNK_SAMPLES) for start in range(0, samples, CHUNK_SAMPLES))
    list(executor.map(run, chunks))


def live_columns(x: Floats) -> NDArray[np.bool_]:
    """Which samples are not all zero. The others stay zero where a network keeps zeros."""
    return np.asarray(np.bitwise_or.reduce(x.view(np.int32), axis=0) != 0)


def _without_dead(x: Floats, columns: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    live = live_columns(x)
    if np.count_nonzero(live) > 0.9 * len(columns):  # not worth a copy
        return x, columns
    return np.ascontiguousarray(x[:, live]), columns[live]
