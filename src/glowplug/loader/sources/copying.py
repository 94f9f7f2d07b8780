"""Copying from memory to memory."""

from __future__ import annotations

import numpy as np


def copy(to: memoryview, data: memoryview) -> None:
    """Copies between two views of the same number of bytes, and lets other threads of Python run meanwhile.

    Assigning to a slice of a memoryview does not: a long copy would stop the whole process.
    """
    if to.nbytes:
        np.copyto(np.frombuffer(to, np.uint8), np.frombuffer(data, np.uint8))
