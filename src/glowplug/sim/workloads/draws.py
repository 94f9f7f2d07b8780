"""Seeded generators of arrays: a stream for each purpose, so that one more draw shifts no other."""

from __future__ import annotations

from typing import Literal

import numpy as np

Purpose = Literal["arrivals", "popularity", "spread", "sample", "jitter", "mix", "phase", "faults"]
_STREAMS: tuple[Purpose, ...] = (
    "arrivals", "popularity", "spread", "sample", "jitter", "mix", "phase", "faults",
)  # fmt: skip


def draws(seed: int, purpose: Purpose) -> np.random.Generator:
    return np.random.default_rng((seed, _STREAMS.index(purpose)))
