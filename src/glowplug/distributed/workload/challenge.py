"""The networks of the MIT/IEEE/Amazon sparse DNN challenge, generated: equivalent to the official, not
identical.

Layer l is ones(16 x 16) kron (I + a cyclic shift by 2^(l mod k)) over 16 * 2^k neurons. From layer k on its
rows and columns are permuted at random. The official permutations are not published; these come from the
seed. k beyond N = 1024 is inferred.
"""

from __future__ import annotations

import numpy as np

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Activation, Layer, Network, Offsets

BIAS = {1024: -0.30, 4096: -0.35, 16384: -0.40, 65536: -0.45}
LAYERS = (120, 480, 1920)
TWINS = 16  # rows that read the same inputs, and inputs that are read by the same rows
FAN_IN = 2 * TWINS
WEIGHT = 1 / 16
CAP = 32.0


class ChallengeNetwork(Network):
    """`neurons` is one of BIAS; `layers` any number, the challenge's are LAYERS. Layers are built on
    demand."""

    def __init__(self, neurons: int, layers: int, seed: int = 0) -> None:
        if neurons not in BIAS:
            raise InvalidArguments(
                f"{neurons} neurons: the challenge has {', '.join(map(str, BIAS))}", "neurons"
            )
        if layers < 1:
            raise InvalidArguments(f"{layers} layers: a network needs at least one", "layers")
        self.neurons = self.inputs = neurons
        self.layers = layers
        self.seed = seed

    @property
    def digest(self) -> str:
        return f"challenge-{self.neurons}x{self.layers}-{self.seed}"

    @property
    def permuted_from(self) -> int:
        """The first layer whose rows and columns are permuted: k."""
        return (self.neurons // TWINS).bit_length() - 1

    def activation(self, index: int) -> Activation:
        return Activation(cap=CAP)

    def rows(self, index: int) -> int:
        return self.neurons

    def edges(self, index: int) -> int:
        return self.neurons * FAN_IN

    def layer(self, index: int) -> Layer:
        """Every row reads 32 inputs in ascending order; every input is read by 32 rows."""
        neurons, cycle, radix = self.neurons, self.neurons // TWINS, self.permuted_from
        rows, columns = self._permutations(index)
        place = rows % cycle
        before = (place - (1 << index % radix)) % cycle
        block = np.arange(TWINS) * cycle
        reads = np.concatenate([block + place[:, None], block + before[:, None]], axis=1)
        indices = np.sort(columns[reads], axis=1).astype(np.int32).reshape(-1)
        return Layer(
            inputs=neurons,
            indptr=np.arange(neurons + 1, dtype=np.int64) * FAN_IN,
            indices=indices,
            values=np.full(neurons * FAN_IN, WEIGHT, np.float32),
            bias=np.full(neurons, BIAS[neurons], np.float32),
        )

    def _permutations(self, index: int) -> tuple[Offsets, Offsets]:
        if index < self.permuted_from:
            same = np.arange(self.neurons)
            return same, same
        rng = np.random.default_rng((self.seed, self.neurons, index))
        return rng.permutation(self.neurons), rng.permutation(self.neurons)
