"""A network whose layers are all in memory: small ones, and those made from a model's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import xxhash

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Activation, Floats, Layer, Network


def layer_of(matrix: Floats, bias: Floats | float) -> Layer:
    """The layer `x -> matrix @ x`: a dense (rows, inputs) matrix, whose zeros are no connections."""
    rows, inputs = matrix.shape
    row_ids, indices = np.nonzero(matrix)
    indptr = np.zeros(rows + 1, np.int64)
    np.cumsum(np.bincount(row_ids, minlength=rows), out=indptr[1:])
    values = matrix[row_ids, indices].astype(np.float32)
    biases = np.broadcast_to(np.asarray(bias, np.float32), (rows,)).copy()
    return Layer(inputs, indptr, indices.astype(np.int32), values, biases)


class StoredNetwork(Network):
    """Raises InvalidArguments where one layer's rows are not the next one's inputs, or arrays do not fit."""

    def __init__(self, layers: Sequence[Layer], activation: Activation) -> None:
        if not layers:
            raise InvalidArguments("a network needs at least one layer")
        self._layers = tuple(layers)
        self.inputs = layers[0].inputs
        self.layers = len(layers)
        self.activation = activation
        inputs = self.inputs
        for index, layer in enumerate(self._layers):
            _check(index, layer, inputs)
            inputs = layer.rows

    def layer(self, index: int) -> Layer:
        return self._layers[index]

    def rows(self, index: int) -> int:
        return self._layers[index].rows

    def edges(self, index: int) -> int:
        return self._layers[index].edges

    @cached_property
    def digest(self) -> str:
        hasher = xxhash.xxh3_128(repr(self.activation).encode())
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
