"""What a spread's transfers cost on each channel: calls, bytes and the seconds that calls take, a file per
channel.

Counted from what is sent, by the rules of `distributed/channels`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.channels.receiving import Receiver
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Ids, Spread

FRAME_BYTES = 32
"""The header of a frame (`distributed/frame.py`)."""


class Exchange(msgspec.Struct, frozen=True, eq=False):
    """One spread on one channel. K steps and the gathering, P workers.

    `send_s` is from the first call of a worker's step to the end of its last, `there_s` from that first
    call until a receiver can have a transfer, which is `messages` of `came_bytes` to it. `usage` and
    `calls` are those of senders, `receive_usage` that of one unit of a receiver's calls. `nbytes` are those
    of messages, with all that is billed of them.
    """

    send_s: Reals  # (K + 1, P)
    there_s: Reals  # (E,)
    messages: Reals  # (E,)
    came_bytes: Reals  # (E,)
    receiver: Callable[[int], Receiver]
    usage: Usage
    receive_usage: Usage
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


def numbered(spread: Spread, counted: Reals) -> Reals:
    """(E,): how many come before each transfer among those of its step and source; `counted` (E,) of each."""
    moved = spread.transfers
    key = moved.step.astype(np.int64) * spread.workers + moved.source
    before = np.cumsum(counted) - counted
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    found: Reals = before - np.repeat(before[starts], np.diff(np.append(starts, len(key))))
    return found


def rounds(calls: Reals, parallel: int) -> Reals:
    """How many calls one after another, with so many at a time."""
    turns: Reals = np.ceil(calls / parallel)
    return turns
