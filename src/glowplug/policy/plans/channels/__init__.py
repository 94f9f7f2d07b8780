"""What a spread's transfers cost on each channel: calls, bytes and the seconds that calls take, a file per channel.

Counted from what is sent, by the rules of `distributed/channels`; what depends on who comes first (polls that find
few messages, objects asked for too early) is estimated.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Ids, Spread

FRAME_BYTES = 28
"""The header of a frame (`distributed/frame.py`)."""


class Exchange(msgspec.Struct, frozen=True, eq=False):
    """One spread on one channel. K steps and the gathering, P workers.

    `send_s` is from the first call of a worker's step to the end of its last, `travel_s` until others can have what
    was sent, `receive_s` from when a worker could have everything of a step until it does. `nbytes` are those of
    messages, with all that the channel bills of them.
    """

    send_s: Reals  # (K + 1, P)
    receive_s: Reals  # (K + 1, P)
    travel_s: float
    usage: Usage
    calls: int
    nbytes: int


class ChannelPlan(Protocol):
    """No state."""

    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        """Counts. Raises CannotSpread where the channel cannot carry it."""


def per_sender(spread: Spread, values: Reals) -> Reals:
    """(K + 1, P): sums of one value a transfer by step and source."""
    return _summed(spread, spread.transfers.source, values)


def per_receiver(spread: Spread, values: Reals) -> Reals:
    return _summed(spread, spread.transfers.target, values)


def _summed(spread: Spread, worker: Ids, values: Reals) -> Reals:
    steps, wide = spread.steps + 1, spread.workers
    key = spread.transfers.step.astype(np.int64) * wide + worker
    summed = np.bincount(key, weights=values, minlength=steps * wide)
    return summed.astype(np.float64).reshape(steps, wide)


def rounds(calls: Reals, parallel: int) -> Reals:
    """How many calls one after another, with so many at a time."""
    turns: Reals = np.ceil(calls / parallel)
    return turns
