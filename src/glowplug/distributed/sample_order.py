"""In which order samples are worked on: those with much input last.

Which samples still live is most of what a message says once the others have died, and who dies is who had
little to begin with. Side by side they are told in a fraction of the bytes; no sample's own result changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.assignment import Share
from glowplug.distributed.network import Floats
from glowplug.distributed.results import Output

Order = NDArray[np.int64]
"""(samples,): at each place, which sample."""


def by_input(inputs: Floats, shares: Sequence[Share] = ()) -> Order:
    """`inputs` (rows, samples) by how many of a sample's are not zero, and else as they are. Samples stay
    inside their share, whose workers are sent no others."""
    samples = inputs.shape[1]
    bounds = sorted({bound for share in shares for bound in (share.first, share.end)})
    stretch = np.searchsorted(bounds, np.arange(samples), side="right")
    return np.lexsort((np.count_nonzero(inputs, axis=0), stretch))


def put_back(output: Output, order: Order) -> Output:
    """`output` (..., samples) in the order that the samples came in."""
    found = np.empty_like(output)
    found[..., order] = output
    return found
