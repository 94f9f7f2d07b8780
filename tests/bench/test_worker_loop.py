"""The measurement of a worker's loop runs: what it shows is for whoever asks, not for a test."""

from __future__ import annotations

import io

import numpy as np
import pytest

from glowplug.bench.worker_loop import cpu_us, double, echo
from glowplug.core.bodies import NPY


@pytest.mark.parametrize("together", [1, 7])
def test_small_requests_are_all_answered(together: int) -> None:
    assert cpu_us(echo, b'{"text": "a"}', 50, together) > 0


def test_arrays_travel_in_shared_memory() -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(100_000, np.float32))
    assert cpu_us(double, stream.getvalue(), 5, 1, NPY) > 0
