"""A whole network on one worker: the result that every plan must give, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Floats, Network
from glowplug.distributed.workload.kernel import Kernel

BLOCK_LAYERS = 4  # samples go through so many layers while they are in the cache
_CHUNK_FLOATS = 1 << 17  # twice this, and a layer's weights, fit a second-level cache of 2 MB
_NARROWEST, _WIDEST_ROWS, _WIDE = 128, 4096, 1024


def serial(network: Network, x: Floats, threads: int = 1) -> Floats:
    """`x` (network.inputs, samples) -> (rows of the last layer, samples). Layers are built a few at a time.

    Takes the room of two such arrays. Samples that have died out are left out from then on. Raises
    InvalidArguments where x does not fit.
    """
    if x.ndim != 2 or x.shape[0] != network.inputs:
        raise InvalidArguments(f"the network reads {network.inputs} rows, but is given {x.shape}")
    samples = x.shape[1]
    columns = np.arange(samples)
    with ThreadPoolExecutor(threads) as executor:
        for first in range(0, network.layers, BLOCK_LAYERS):
            block = range(first, min(first + BLOCK_LAYERS, network.layers))
            kernels = [Kernel(network.layer(index), network.activation) for index in block]
            x = _through(kernels, x, executor)
            if not network.activation.bias_everywhere:
                x, columns = _without_dead(x, columns)
    if len(columns) == samples:
        return x
    out = np.zeros((x.shape[0], samples), np.float32)
    out[:, columns] = x
    return out


def _through(kernels: list[Kernel], x: Floats, executor: Executor) -> Floats:
    out = np.empty((kernels[-1].layer.rows, x.shape[1]), np.float32)

    def run(chunk: slice) -> None:
        y: Floats = np.ascontiguousarray(x[:, chunk], np.float32)
        for kernel in kernels:
            y = kernel(y)
        out[:, chunk] = y

    widest = max(kernel.layer.inputs for kernel in kernels)
    list(executor.map(run, _chunks(x.shape[1], widest)))
    return out


def _chunks(samples: int, rows: int) -> Iterator[slice]:
    """Chunks that fit the cache; where none does, chunks that are merely not small."""
    width = max(_NARROWEST, _CHUNK_FLOATS // rows) if rows <= _WIDEST_ROWS else _WIDE
    return (slice(start, min(start + width, samples)) for start in range(0, samples, width))


def live_columns(x: Floats) -> NDArray[np.bool_]:
    """Which samples are not all zero. The others stay zero where a bias is added to sums other than zero
    alone."""
    return np.asarray(np.bitwise_or.reduce(x.view(np.int32), axis=0) != 0)


def _without_dead(x: Floats, columns: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    live = live_columns(x)
    if np.count_nonzero(live) > 0.9 * len(columns):  # not worth a copy
        return x, columns
    return np.ascontiguousarray(x[:, live]), columns[live]
