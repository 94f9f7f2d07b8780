"""What a function's moves cost in a simulation."""

from __future__ import annotations

import msgspec

from glowplug.core.specs import BundleFacts


class Profile(msgspec.Struct, frozen=True):
    """Seconds and bytes of one function. `jitter` is the share by which every duration varies, evenly."""

    environment_s: float = 1.2
    build_s: float = 2.0
    stage_s: float = 0.2
    imported_s: float = 0.1
    staged_s: float = 0.03
    prime_s: float = 0.05
    run_s: float = 0.02
    descend_s: float = 0.005
    let_go_s: float = 0.0
    """Until weights are gone from memory, after the last that had them mapped."""
    read_bytes_per_s: float = 0.0
    """How fast weights are read that their node's memory does not have; 0 is at once."""
    rested_bytes_per_s: float = 0.0
    """The same where nobody had the memory for a while that they come to; 0 is as fast."""
    batch_s: dict[int, float] = {}
    """Of batches by their size, on a device; of others by proportion to `run_s`."""
    jitter: float = 0.0
    environment_bytes: int = 300 * 10**6
    facts: BundleFacts = BundleFacts(
        weight_bytes=90 * 10**6, staged_bytes=10 * 10**6, parked_bytes=12 * 10**6, peak_bytes=40 * 10**6
    )
