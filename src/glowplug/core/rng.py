"""Seeded randomness: the only importer of `random`."""

from __future__ import annotations

import random

Rng = random.Random


def rng_for(seed: int, event_number: int) -> Rng:
    """The generator that belongs to one event: a replay draws the same numbers."""
    return random.Random((seed << 64) ^ event_number)
