"""A network whose layers are all in memory: small ones, and those made from a model's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import xxhash
from numpy.typing import NDArray

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Activation, Floats, Layer, Network

Whole = NDArray[np.int64]


def layer_of(matrix: Floats, bias: Floats | float) -> Layer:
    """The layer `x -> matrix @ x`: a dense (rows, inputs) matrix, whose zeros are no connections."""
    row_ids, indices = np.nonzero(matrix)
    return layer_of_edges(matrix.shape, row_ids, indices, matrix[row_ids, indices], bias)


def layer_of_edges(
    shape: tuple[int, ...], row_ids: Whole, indices: Whole, values: Floats, bias: Floats | float
) -> Layer:
    """The same of a (rows, inputs) matrix that has `values` at these places, which are ordered by rows.
    Copies what it is given."""
    rows, inputs = shape
    indptr = np.zeros(rows + 1, np.int64)
    np.cumsum(np.bincount(row_ids, minlength=rows), out=indptr[1:])
    biases = np.broadcast_to(np.asarray(bias, np.float32), (rows,)).copy()
    return Layer(inputs, indptr, indices.astype(np.int32), values.astype(np.float32), biases)


class StoredNetwork(Network):
    """`activation` is that of all layers, or one for each. Raises InvalidArguments where one layer's rows are
    not the next one's inputs, or arrays do not fit."""

    def __init__(self, layers: Sequence[Layer], activation: Activation | Sequence[Activation]) -> None:
        if not layers:
            raise InvalidArguments("a network needs at least one layer")
        self._layers = tuple(layers)
        self.inputs = layers[0].inputs
        self.layers = len(layers)
        every = [activation] * len(layers) if isinstance(activation, Activation) else activation
        if len(every) != len(layers):
            raise InvalidArguments(f"{len(every)} activations are not one for each of {len(layers)} layers")
        self._activations = tuple(every)
        inputs = self.inputs
        for index, layer in enumerate(self._layers):
            _check(index, layer, inputs)
            inputs = layer.rows

    def layer(self, index: int) -> Layer:
        return self._layers[index]

    def activation(self, index: int) -> Activation:
        return self._activations[index]

    def rows(self, index: int) -> int:
        return self._layers[index].rows

    def edges(self, index: int) -> int:
        return self._layers[index].edges

    @cached_property
    def digest(self) -> str:
        hasher = xxhash.xxh3_128(repr(self._activations).encode())
        for layer in self._layers:
            hasher.update(f"{layer.inputs} {layer.rows} {layer.edges}".encode())
            for array in (layer.indptr, layer.indices, layer.values, layer.bias):
                hasher.update(np.ascontiguousarray(array).data)
        return hasher.hexdigest()


def _check(index: int, layer: Layer, inputs: int) -> None:
    if layer.inputs != inputs:
        raise InvalidArguments(f"layer {index} reads {layer.inputs} rows, but is given {inputs}")
    ends = int(layer.indptr[0]), int(layer.indptr[-1])
    if ends != (0, layer.edges) or (np.diff(layer.indptr) < 0).any():
        raise InvalidArguments(
            f"layer {index}: indptr must rise from 0 to the number of indices, {layer.edges}"
        )
    if len(layer.values) != layer.edges or len(layer.bias) != layer.rows:
        raise InvalidArguments(f"layer {index}: a value per index and a bias per row are needed")
    if layer.edges and not 0 <= int(layer.indices.min()) <= int(layer.indices.max()) < inputs:
        raise InvalidArguments(f"layer {index}: an index is not among its {inputs} input rows")
