"""Sparse networks, layer by layer: what is multiplied, cut into parts and sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.core.errors import InvalidArguments

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
Offsets = NDArray[np.int64]


class Activation(msgspec.Struct, frozen=True):
    """What follows the sum of a row: `min(cap, max(floor, sum + bias))`; with no floor and no cap, nothing.

    `bias_everywhere` False is the challenge's rule: the bias is added only where the sum is not zero.
    """

    cap: float = inf
    bias_everywhere: bool = False
    floor: float = 0.0

    @property
    def keeps_zeros(self) -> bool:
        """Whether a sample that is all zero before the layer is so after it."""
        return not self.bias_everywhere and self.floor <= 0 <= self.cap


class Layer(msgspec.Struct, frozen=True, eq=False):
    """One sparse layer by output row: row r is the sum of `values[k] * x[indices[k]]`, k from `indptr[r]` on.

    The order of k is the order of summation. Whoever takes some of the rows keeps it, so a row comes out with
    the same bits wherever it is computed.
    """

    inputs: int
    indptr: Offsets  # rows + 1
    indices: Ids  # edges; an input row each, below `inputs`
    values: Floats  # edges
    bias: Floats  # rows

    @property
    def rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def edges(self) -> int:
        return len(self.indices)

    @property
    def nbytes(self) -> int:
        return self.indptr.nbytes + self.indices.nbytes + self.values.nbytes + self.bias.nbytes

    def take(self, rows: Ids) -> Layer:
        """These output rows alone, in this order, over the same inputs."""
        counts = np.diff(self.indptr)[rows]
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        edges = np.repeat(self.indptr[:-1][rows] - indptr[:-1], counts) + np.arange(indptr[-1])
        return Layer(self.inputs, indptr, self.indices[edges], self.values[edges], self.bias[rows])

    def needed(self) -> Ids:
        """The input rows that it reads, ascending."""
        seen = np.zeros(self.inputs, np.bool_)
        seen[self.indices] = True
        return np.flatnonzero(seen).astype(np.int32)

    def over(self, inputs: Ids) -> Layer:
        """The same rows over `x[inputs]` instead of x. Raises InvalidArguments if a needed input is
        missing."""
        slot = np.full(self.inputs, -1, np.int32)
        slot[inputs] = np.arange(len(inputs), dtype=np.int32)
        indices = slot[self.indices]
        if len(indices) and int(indices.min()) < 0:
            missing = int(self.indices[int(indices.argmin())])
            raise InvalidArguments(f"the layer reads input row {missing}, which is not among those given")
        return Layer(len(inputs), self.indptr, indices, self.values, self.bias)


class Network(ABC):
    """Layers one after another. Asked for one at a time: a whole network may be larger than memory."""

    inputs: int
    layers: int

    @abstractmethod
    def layer(self, index: int) -> Layer: ...

    @abstractmethod
    def activation(self, index: int) -> Activation:
        """What follows a layer's sums."""

    @abstractmethod
    def rows(self, index: int) -> int:
        """Output rows of a layer, without building it."""

    @abstractmethod
    def edges(self, index: int) -> int:
        """Connections of a layer, without building it."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hex; equal for equal content. Names cached results."""

    @property
    def name(self) -> str:
        """For people."""
        return self.digest

    @property
    def keeps_zeros(self) -> bool:
        """Whether samples that have died out stay dead."""
        return all(self.activation(index).keeps_zeros for index in range(self.layers))

    @property
    def total_edges(self) -> int:
        return sum(self.edges(index) for index in range(self.layers))

    @property
    def weights_bytes(self) -> int:
        """What the whole network's layers take in memory (`Layer.nbytes`), without building them."""
        per_layer = (8 * self.edges(index) + 12 * self.rows(index) + 8 for index in range(self.layers))
        return sum(per_layer)
