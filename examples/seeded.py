"""Seeded random weights: they cost what trained ones cost, and nothing has to be fetched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def seeded_weights(build: Callable[[], nn.Module], seed: int = 0) -> dict[str, Tensor]:
    """The state dict of a fresh `build()`, the same for the same seed; torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().state_dict()
