"""The compiled loops of the kernel. Importing it imports numba."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, boundscheck=False)
def forward(indptr, indices, values, bias, x, cap, everywhere, out, slots):  # type: ignore[no-untyped-def]
    for row in range(len(indptr) - 1):
        y = out[slots[row]]
        y[:] = np.float32(0)
        for k in range(indptr[row], indptr[row + 1]):
            value = values[k]
            source = x[indices[k]]
            for s in range(y.shape[0]):
                y[s] += value * source[s]
        b = bias[row]
        for s in range(y.shape[0]):
            z = y[s]
            if everywhere or z != np.float32(0):
                z += b
            y[s] = min(cap, max(np.float32(0), z))
