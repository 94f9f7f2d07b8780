"""What a worker holds beside its runtime, in bytes: counted alike when it is planned and before it is run."""

from __future__ import annotations

from collections.abc import Sequence

from glowplug.policy.plans.facts import VALUE_BYTES, LayerFacts

_KERNEL_ROW_BYTES = 20
"""What a kernel keeps for each row that it sums."""
_KERNEL_EDGE_BYTES = 4
"""And for each edge, where it has some of a layer's rows: their indices, over what they read."""
_TILE_ROW_BYTES = 4 * 512
"""What it works in, for each row that it reads."""

LEAST_UNDER_WAY = 2
"""So many samples has a pipeline of a torch model under way at least."""
_SMALL_BYTES = 2**20
_FORGOTTEN_AT_ONCE = 8
_COPIES = 3


def kernel_bytes(rows: int, edges: int, *, has_some: bool) -> int:
    """Of kernels for so many rows and edges; `has_some` where these are not all of a layer's."""
    return _KERNEL_ROW_BYTES * rows + (_KERNEL_EDGE_BYTES * edges if has_some else 0)


def buffer_bytes(height: int, samples: int) -> int:
    """Two buffers of so many rows, and what a kernel works in."""
    return (2 * VALUE_BYTES * samples + _TILE_ROW_BYTES) * height


def forgotten_every(handed_bytes: int) -> int:
    """After how many samples a stage says that it has what it was handed, of which each has so many bytes:
    until then that may lie in memory."""
    return 1 if handed_bytes > _SMALL_BYTES else _FORGOTTEN_AT_ONCE


def passing_bytes(handed_bytes: int, under_way: int) -> int:
    """Of a worker of a torch model's pipeline. A call under way holds what it was given and what it handed
    on, or the latter lies between workers; one is packed, in copies; and what came lies there until it is
    forgotten."""
    return (_COPIES + 2 * under_way + forgotten_every(handed_bytes)) * handed_bytes


def whole_layers_bytes(
    layers: Sequence[LayerFacts], height: int, samples: int, *, one_by_one: bool = False
) -> int:
    """Of a worker that has all rows of these layers, the widest of `height`, and takes so many samples at a
    time."""
    weights = sum(layer.weights_bytes for layer in layers)
    if one_by_one:
        return weights + 2 * VALUE_BYTES * samples * height
    kernels = kernel_bytes(sum(layer.rows for layer in layers), 0, has_some=False)
    return weights + kernels + buffer_bytes(height, samples)
