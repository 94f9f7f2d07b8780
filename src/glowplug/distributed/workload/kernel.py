"""One layer over many samples. fp32 everywhere; needs numba.

Activations are (rows, samples), C order: an output row is a sum of input rows. A row's sum is taken in the
layer's order, so its bits depend on nothing but its own inputs: not on which rows stand beside it, nor on
how many samples, nor on who computes it.
"""

from __future__ import annotations

import threading

import numpy as np

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Activation, Floats, Ids, Layer
from glowplug.distributed.workload.grouping import same_inputs


class Kernel:
    """A layer made ready to be applied again and again, from any thread."""

    def __init__(self, layer: Layer, activation: Activation) -> None:
        self.layer = layer
        self.activation = activation
        self._reads = layer.needed()
        reads_all = len(self._reads) == layer.inputs
        self._indices = layer.indices if reads_all else layer.over(self._reads).indices
        self._order, self._groups = same_inputs(layer)
        self._in_place = np.arange(layer.rows, dtype=np.int32)

    def __call__(self, x: Floats, out: Floats | None = None, slots: Ids | None = None) -> Floats:
        """`x` (layer.inputs, samples); row r goes to `out[slots[r]]`, without slots to `out[r]`.

        Returns `out`, which is made if none is given. It may hold more rows than the layer's: the others
        stay as they are. It may be x itself: samples are copied before they are overwritten. Raises
        InvalidArguments where the shapes do not fit.
        """
        from glowplug.distributed.workload import loops

        layer = self.layer
        slots = self._in_place if slots is None else slots
        out = np.empty((layer.rows, x.shape[1]), np.float32) if out is None else out
        self._check(x, out, slots)
        tile = _working_space(len(self._reads), loops.TILE)
        loops.forward(
            layer.indptr, self._indices, layer.values, layer.bias, self._order, self._groups, self._reads,
            x, tile, np.float32(self.activation.floor), np.float32(self.activation.cap),
            self.activation.bias_everywhere, out, slots,
        )  # fmt: skip
        return out

    def _check(self, x: Floats, out: Floats, slots: Ids) -> None:
        layer = self.layer
        if x.shape[0] != layer.inputs:
            raise InvalidArguments(f"the layer reads {layer.inputs} rows, but is given {x.shape[0]}")
        if len(slots) != layer.rows or out.shape[1] != x.shape[1]:
            raise InvalidArguments(f"{layer.rows} rows of {x.shape[1]} samples do not fit into {out.shape}")
        if layer.rows and not 0 <= int(slots.min()) <= int(slots.max()) < out.shape[0]:
            raise InvalidArguments(f"a slot is not among the {out.shape[0]} rows of the output")


_kept = threading.local()


def _working_space(rows: int, samples: int) -> Floats:
    """Each thread keeps its own, 2 KiB for each row that a layer reads: new memory costs page faults."""
    space: Floats | None = getattr(_kept, "space", None)
    if space is None or len(space) < rows:
        space = _kept.space = np.empty((rows, samples), np.float32)
    return space


def forward(
    layer: Layer, x: Floats, activation: Activation, out: Floats | None = None, slots: Ids | None = None
) -> Floats:
    """`Kernel`, used once."""
    return Kernel(layer, activation)(x, out, slots)
