"""Rows that read the same inputs: summed together by the kernel, kept together by a partition. Needs
numba."""

from __future__ import annotations

import numpy as np

from glowplug.distributed.network import Ids, Layer, Offsets


def same_inputs(layer: Layer) -> tuple[Ids, Offsets]:
    """The rows, ordered so that those with the same inputs in the same order are neighbours, and where each
    such group starts in that order, and the end."""
    from glowplug.distributed.workload import loops

    hashes = np.empty(layer.rows, np.uint64)
    loops.hash_rows(layer.indptr, layer.indices, hashes)
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    changes = np.empty(layer.rows, np.bool_)
    loops.flag_changes(layer.indptr, layer.indices, order, changes)
    return order, np.append(np.flatnonzero(changes), layer.rows)
