"""object: S3. One object a step and sender with an index at its head; receivers read their range of it."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.channels import FRAME_BYTES, Exchange, per_receiver, per_sender, rounds
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

FIRST_READ_BYTES = 64 * 1024
"""The first read of an object takes so much: the index, and in a small object everything."""
HEAD_BYTES = 12
ENTRY_BYTES = 16
"""Of an object's index, for each of its readers."""


class ObjectCalls(msgspec.Struct, frozen=True):
    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        moved = spread.transfers
        nbytes = moved.nbytes + FRAME_BYTES + ENTRY_BYTES
        sizes = per_sender(spread, nbytes)
        puts = (sizes > 0).astype(float)
        sizes += puts * HEAD_BYTES
        reads = np.where(sizes[moved.step, moved.source] > FIRST_READ_BYTES, 2.0, 1.0)
        gets, came_bytes = per_receiver(spread, reads), per_receiver(spread, nbytes)
        early = (gets > 0).astype(float)
        return Exchange(
            send_s=puts * delays.put_s + sizes / delays.bytes_per_s,
            receive_s=rounds(gets, delays.parallel) * delays.get_s + came_bytes / delays.bytes_per_s,
            travel_s=0.0,
            usage=Usage(puts=float(puts.sum()), gets=float(gets.sum() + early.sum())),
            calls=int(puts.sum() + gets.sum() + early.sum()),
            nbytes=int(sizes.sum()),
        )
