"""object: S3. One object a step and sender with an index at its head; receivers read their range of it."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.channels import FRAME_BYTES, Exchange, numbered, per_sender
from glowplug.policy.plans.channels.receiving import Asking
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

MOST_READ_BYTES = 128 * 1024
"""Who finds its part of an object up to there has it with the first read."""
PAGE_BYTES, MARGIN = 4096, 1.25
HEAD_BYTES = 12
ENTRY_BYTES = 16
"""Of an object's index, for each of its readers."""


class ObjectCalls(msgspec.Struct, frozen=True):
    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        moved = spread.transfers
        contents = moved.nbytes + FRAME_BYTES
        index = per_sender(spread, np.full(len(moved), float(ENTRY_BYTES)))
        index += (index > 0) * HEAD_BYTES
        sizes = index + per_sender(spread, contents)
        puts = (sizes > 0).astype(float)
        ends = index[moved.step, moved.source] + numbered(spread, contents) + contents
        first = first_reads(spread, index[moved.step, moved.source], ends)
        further = ends > first
        opened = 1 if len(moved) else 0  # the mark of an open run, which each worker reads
        usage = Usage(puts=float(puts.sum()) + opened, gets=opened * spread.workers, lists=opened)
        send_s = puts * delays.put_s + sizes / delays.bytes_per_s
        return Exchange(
            send_s=send_s,
            there_s=send_s[moved.step, moved.source],
            messages=np.where(further, 2.0, 1.0),
            came_bytes=np.minimum(first, sizes[moved.step, moved.source]) + further * contents,
            receiver=partial(Asking, workers=spread.workers, delays=delays),
            usage=usage,
            receive_usage=Usage(gets=1),
            calls=int(usage.puts + usage.gets + usage.lists),
            nbytes=int(sizes.sum()),
        )


def first_reads(spread: Spread, index: Reals, ends: Reals) -> Reals:
    """(E,): how many bytes of an object a receiver reads first: as far as its parts in that step's objects
    go, in pages, or the index of those in which they go further than is worth it. `index` (E,) is where an
    object's index ends, `ends` (E,) a part."""
    wanted = np.where(ends <= MOST_READ_BYTES, MARGIN * ends, index)
    pages = np.ceil(wanted / PAGE_BYTES) * PAGE_BYTES
    receiver = spread.transfers.step.astype(np.int64) * spread.workers + spread.transfers.target
    reach = np.zeros((spread.steps + 1) * spread.workers)
    np.maximum.at(reach, receiver, pages)
    found: Reals = reach[receiver]
    return found
