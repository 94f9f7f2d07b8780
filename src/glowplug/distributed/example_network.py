"""A network beside samples of what it is run on."""

from __future__ import annotations

import numpy as np

from glowplug.distributed.network import Activation, Floats, Layer, Network


class ExampleNetwork(Network):
    """`network`, with `examples` (inputs, samples) of which there is at least one."""

    def __init__(self, name: str, network: Network, examples: Floats) -> None:
        self._name, self._network = name, network
        self.inputs, self.layers = network.inputs, network.layers
        self.examples = examples

    def samples(self, many: int) -> Floats:
        """(inputs, many): the examples in turn, from the first on again where there are fewer."""
        found: Floats = np.take(self.examples, np.arange(many) % self.examples.shape[1], axis=1)
        return found

    def layer(self, index: int) -> Layer:
        return self._network.layer(index)

    def activation(self, index: int) -> Activation:
        return self._network.activation(index)

    def rows(self, index: int) -> int:
        return self._network.rows(index)

    def edges(self, index: int) -> int:
        return self._network.edges(index)

    @property
    def name(self) -> str:
        return self._name

    @property
    def digest(self) -> str:
        return self._network.digest
