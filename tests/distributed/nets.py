"""Small networks and inputs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from glowplug.distributed.network import Activation, Floats, Network
from glowplug.distributed.stored import StoredNetwork, layer_of


def small_inputs(rows: int, samples: int, seed: int = 0) -> Floats:
    """0 or 1; of some samples so few are set that they die out."""
    rng = np.random.default_rng(seed)
    share = np.where(np.arange(samples) % 3, 0.3, 0.02)
    return (rng.random((rows, samples)) < share).astype(np.float32)


def dense_network(widths: tuple[int, ...], *, bias_everywhere: bool = False, seed: int = 0) -> Network:
    rng = np.random.default_rng(seed)
    layers = [
        layer_of(rng.normal(size=(after, before)).astype(np.float32), 0.1)
        for before, after in pairwise(widths)
    ]
    return StoredNetwork(layers, Activation(bias_everywhere=bias_everywhere))
