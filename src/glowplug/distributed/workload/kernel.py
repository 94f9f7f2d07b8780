"""One layer over many samples, and a whole network by one worker. fp32 everywhere; needs numba.

Activations are (rows, samples), C order: an output row is a sum of input rows. A row's sum is taken in the layer's
order, so its bits depend on nothing but its own inputs: not on which rows stand beside it, nor on how many samples,
nor on who computes it.
"""

from __future__ import annotations

import numpy as np

from glowplug.distributed.network import Activation, Floats, Ids, Layer, Network


def forward(
    layer: Layer, x: Floats, activation: Activation, out: Floats | None = None, slots: Ids | None = None
) -> Floats:
    """`x` (layer.inputs, samples) -> (layer.rows, samples), in `out[slots[r]]`, or `out[r]` without slots."""
    from glowplug.distributed.workload import loops

    if out is None:
        out = np.empty((layer.rows, x.shape[1]), np.float32)
    if slots is None:
        slots = np.arange(layer.rows, dtype=np.int32)
    loops.forward(
        layer.indptr, layer.indices, layer.values, layer.bias, x,
        np.float32(activation.cap), activation.bias_everywhere, out, slots,
    )  # fmt: skip
    return out


def serial(network: Network, x: Floats) -> Floats:
    """The whole network on one worker: the result that every plan must give, bit for bit."""
    for index in range(network.layers):
        x = forward(network.layer(index), x, network.activation)
    return x
