"""object: S3. One object a step and sender with an index at its head; receivers read their range of it."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.channels import FRAME_BYTES, Exchange, per_sender
from glowplug.policy.plans.channels.receiving import Asking
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

MOST_READ_BYTES = 128 * 1024
"""The first read of an object takes so much at most: the index, and in a small object everything."""
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
        opened = 1 if len(moved) else 0  # the mark of an open run, which each worker reads
        send_s = puts * delays.put_s + sizes / delays.bytes_per_s
        whole = sizes[moved.step, moved.source]
        return Exchange(
            send_s=send_s,
            there_s=send_s[moved.step, moved.source],
            messages=np.where(whole > MOST_READ_BYTES, 2.0, 1.0),
            came_bytes=np.where(whole > MOST_READ_BYTES, nbytes, whole),
            receiver=partial(Asking, workers=spread.workers, delays=delays),
            usage=Usage(puts=float(puts.sum()) + opened, gets=opened * spread.workers, lists=opened),
            receive_usage=Usage(gets=1),
            calls=int(puts.sum()),
            nbytes=int(sizes.sum()),
        )
