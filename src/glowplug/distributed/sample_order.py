"""In which order samples are worked on: those with much input last.

Which samples still live is most of what a message says once the others have died, and who dies is who had
little to begin with. Side by side they are told in a fraction of the bytes; no sample's own result changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.assignment import Share
from glowplug.distributed.network import Floats
from glowplug.distributed.results import Output

_BLOCK_VALUES = 2**22
Order = NDArray[np.int64]
"""(samples,): at each place, which sample."""


def by_input(inputs: Floats, shares: Sequence[Share] = ()) -> Order:
    """`inputs` (rows, samples) by how many of a sample's are not zero, and else as they are. Samples stay
    inside their share, whose workers are sent no others."""
    samples = inputs.shape[1]
    bounds = sorted({bound for share in shares for bound in (share.first, share.end)})
    stretch = np.searchsorted(bounds, np.arange(samples), side="right")
    much = np.zeros(samples, np.int64)
    for some in _blocks(inputs):
        much += np.count_nonzero(some, axis=0)
    return np.lexsort((much, stretch))


def write_inputs(path: Path, inputs: Floats, order: Order | None) -> None:
    """As float32, in this order, to an .npy file; some rows at a time, since inputs may be most of memory.
    Raises OSError."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": inputs.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for some in _blocks(inputs):
            ordered = some if order is None else np.take(some, order, axis=1)
            file.write(np.ascontiguousarray(ordered, np.float32).data)


def _blocks(inputs: Floats) -> Iterator[Floats]:
    rows = max(1, _BLOCK_VALUES // max(1, inputs.shape[1]))
    return (inputs[start : start + rows] for start in range(0, len(inputs), rows))


def put_back(output: Output, order: Order) -> Output:
    """`output` (..., samples) in the order that the samples came in."""
    found = np.empty_like(output)
    found[..., order] = output
    return found
