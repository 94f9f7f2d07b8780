"""Small random networks with everything a sparse stack may have, and inputs for them."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import numpy as np
from hypothesis import strategies as st

from glowplug.distributed.network import Activation, Floats, Layer
from glowplug.distributed.stored import StoredNetwork, layer_of


def _layer(rng: np.random.Generator, rows: int, inputs: int, exact: bool, everywhere: bool) -> Layer:
    """Some rows share their inputs, some inputs are read by none, some rows read nothing."""
    patterns = rng.random((max(1, rows // 3), inputs)) < rng.choice([0.1, 0.5, 0.9])
    pattern = patterns[rng.integers(len(patterns), size=rows)]
    if exact:
        values = rng.integers(-8, 9, (rows, inputs)) / 16
        bias = rng.integers(-8, 9, rows) / 16
    else:
        values = rng.normal(size=(rows, inputs))
        bias = rng.normal(size=rows)
        # A sum that is zero in one precision and not in the other would get a bias in one of them.
        bias = bias if everywhere else -abs(bias)
    layer = layer_of((pattern * values).astype(np.float32), 0)
    return Layer(layer.inputs, layer.indptr, layer.indices, layer.values, bias.astype(np.float32))


@st.composite
def networks(draw: st.DrawFn, exact: bool = False, narrowest: int = 1) -> StoredNetwork:
    """`exact`: sixteenths, and so few layers that fp32 rounds nothing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    widths = draw(st.lists(st.integers(narrowest, 40), min_size=2, max_size=4 if exact else 6))
    pairs = list(pairwise(widths))
    one = draw(st.one_of(st.none(), _activations()))
    activations = [one or draw(_activations()) for _ in pairs]
    layers = [
        _layer(rng, rows, inputs, exact, each.bias_everywhere)
        for (inputs, rows), each in zip(pairs, activations, strict=True)
    ]
    return StoredNetwork(layers, activations)


@st.composite
def _activations(draw: st.DrawFn) -> Activation:
    """Without a floor every sum has its bias, as a torch layer's has."""
    cap, floor = draw(st.sampled_from([inf, 32.0, 1.0])), draw(st.sampled_from([0.0, 0.0, -0.5, -inf]))
    return Activation(cap, bias_everywhere=draw(st.booleans()) or floor < 0, floor=floor)


@st.composite
def inputs(draw: st.DrawFn, network: StoredNetwork) -> Floats:
    """Sixteenths from 0 to 1; some rows and some samples are all zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    samples = draw(st.sampled_from([0, 1, 2, 7, 127, 128, 129, 300]))
    x = rng.integers(0, 17, (network.inputs, samples)) / 16
    x *= rng.random((network.inputs, 1)) < 0.8
    x *= rng.random((1, samples)) < 0.7
    return x.astype(np.float32)
