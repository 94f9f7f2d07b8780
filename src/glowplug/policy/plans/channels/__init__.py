"""What a spread's transfers cost on each channel: calls, bytes and the seconds that calls take, a file per channel.

Counted from what is sent; what depends on who comes first (empty polls, objects asked for too early) is estimated.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread


class Exchange(msgspec.Struct, frozen=True, eq=False):
    """One spread on one channel. K steps, P workers and, last, the coordinator.

    `send_s` is from the first call of a worker's step to the end of its last, `travel_s` until others can have what
    was sent, `receive_s` from when a worker could have everything of a step until it does.
    """

    send_s: Reals  # (K, P + 1)
    receive_s: Reals  # (K, P + 1)
    travel_s: float
    usage: Usage
    calls: int
    nbytes: int


class ChannelPlan(Protocol):
    """No state."""

    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        """Counts. Raises CannotSpread where the channel cannot carry it."""


def per_sender(spread: Spread, values: Reals) -> Reals:
    """(K, P + 1): sums of one value a transfer by step and source."""
    return _summed(spread, spread.transfers.source, values)


def per_receiver(spread: Spread, values: Reals) -> Reals:
    return _summed(spread, spread.transfers.target, values)


def _summed(spread: Spread, worker: np.ndarray, values: Reals) -> Reals:
    wide = spread.workers + 1
    key = spread.transfers.step.astype(np.int64) * wide + worker
    summed: Reals = np.bincount(key, weights=values, minlength=spread.steps * wide).reshape(spread.steps, wide)
    return summed


def rounds(calls: Reals, at_once: int) -> Reals:
    """How many calls one after another, with so many in flight."""
    turns: Reals = np.ceil(calls / at_once)
    return turns
