"""object: S3. One object a step and sender with an index at its head; receivers read their range of it."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.channels import Exchange, per_receiver, per_sender, rounds
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

HEAD_BYTES = 64 * 1024
"""The first read of an object takes so much: the index, and in a small object everything."""
INDEX_BYTES = 16
"""Of an object's index, for each of its readers."""


class ObjectCalls(msgspec.Struct, frozen=True):
    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        moved = spread.transfers
        one = np.ones(len(moved))
        nbytes = moved.nbytes + INDEX_BYTES
        sizes, sources = per_sender(spread, nbytes), per_receiver(spread, one)
        object_bytes = sizes[moved.step, moved.source]
        reads = np.where(object_bytes > HEAD_BYTES, 2.0, 1.0)
        gets, got_bytes = per_receiver(spread, reads), per_receiver(spread, nbytes)
        puts = (sizes > 0).astype(float)
        return Exchange(
            send_s=puts * delays.put_s + sizes / delays.bytes_s,
            receive_s=rounds(gets, delays.threads) * delays.get_s + got_bytes / delays.bytes_s,
            travel_s=0.0,
            usage=Usage(puts=float(puts.sum()), gets=float(gets.sum() + misses(sources).sum())),
            calls=int(puts.sum() + gets.sum()),
            nbytes=int(nbytes.sum()),
        )


def misses(sources: np.ndarray) -> np.ndarray:
    """Reads of an object that is not there yet: a receiver asks for one of a step's objects until it is there."""
    return (sources > 0).astype(float)
