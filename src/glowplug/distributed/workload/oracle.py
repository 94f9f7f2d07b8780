"""The challenge's own definition of the answer, in fp64 by scipy: slow, plain, and what the kernel is
checked against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.network import Floats, Network


def oracle(network: Network, x: Floats) -> NDArray[np.float64]:
    """`x` (network.inputs, samples) -> (rows of the last layer, samples). Needs scipy."""
    y = x.astype(np.float64)
    for index in range(network.layers):
        y = _after(network, index, y)
    return y


def worst_error(network: Network, x: Floats) -> NDArray[np.float64]:
    """How far fp32 may be from the oracle, in whichever order rows are summed: what rounding adds in each
    layer, carried through the next ones. (rows of the last layer, samples)"""
    from scipy.sparse import csr_array

    y, error = x.astype(np.float64), np.zeros(x.shape)
    for index in range(network.layers):
        layer = network.layer(index)
        sizes = np.abs(layer.values).astype(np.float64)
        carried = csr_array((sizes, layer.indices, layer.indptr), shape=(layer.rows, layer.inputs))
        rounding = 2.0**-23 * (layer.inputs + 2)
        bias = np.abs(layer.bias).astype(np.float64)[:, None]
        error = carried @ error + rounding * (carried @ (abs(y) + error) + bias)
        y = _after(network, index, y)
    return error


def _after(network: Network, index: int, y: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.sparse import csr_array

    layer, activation = network.layer(index), network.activation(index)
    weights = csr_array((layer.values, layer.indices, layer.indptr), shape=(layer.rows, layer.inputs))
    z = weights.astype(np.float64) @ y
    biased = z + layer.bias.astype(np.float64)[:, None]
    z = biased if activation.bias_everywhere else np.where(z == 0, 0, biased)
    return np.clip(z, activation.floor, activation.cap)


def categories(y: NDArray[np.floating]) -> NDArray[np.int64]:
    """The challenge's answer: the samples with anything left, ascending. `y` is (rows, samples)."""
    return np.flatnonzero(y.any(axis=0))
