"""What a process says that it holds: believed where that is likely, else asked of the kernel.

Its function's code may have said it, and what is counted for one process is memory that others do not get.
"""

from __future__ import annotations

import asyncio

from glowplug.node import procfs
from glowplug.node.roster import Held

_LIKELY_BYTES = 2**30
"""Of an interpreter with its libraries, or with a device's context."""


def is_likely(held: Held, held_bytes: int) -> bool:
    """Whether a process that climbs, or waits for a function, may hold so much."""
    most_bytes = _LIKELY_BYTES
    if held.climb is not None and held.function and held.target.kind != "environment":
        most_bytes = held.climb.spec.declaration.memory_bytes
    return 0 <= held_bytes <= most_bytes


async def held_bytes_of(held: Held, said_bytes: int) -> int:
    """What it said, if that is likely, else its private bytes; 0 when it is gone."""
    if is_likely(held, said_bytes):
        return said_bytes
    return await asyncio.to_thread(procfs.private_dirty_bytes, held.process.pid)
