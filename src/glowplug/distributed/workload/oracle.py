"""The challenge's own definition of the answer, in fp64 by scipy: slow, plain, and what the kernel is
checked against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.network import Floats, Network


def oracle(network: Network, x: Floats) -> NDArray[np.float64]:
    """`x` (network.inputs, samples) -> (rows of the last layer, samples). Needs scipy."""
    from scipy.sparse import csr_array

    activation = network.activation
    y = x.astype(np.float64)
    for index in range(network.layers):
        layer = network.layer(index)
        weights = csr_array((layer.values, layer.indices, layer.indptr), shape=(layer.rows, layer.inputs))
        z = weights.astype(np.float64) @ y
        biased = z + layer.bias.astype(np.float64)[:, None]
        z = biased if activation.bias_everywhere else np.where(z == 0, 0, biased)
        y = np.clip(z, 0, activation.cap)
    return y


def categories(y: NDArray[np.floating]) -> NDArray[np.int64]:
    """The challenge's answer: the samples with anything left, ascending. `y` is (rows, samples)."""
    return np.flatnonzero(y.any(axis=0))
