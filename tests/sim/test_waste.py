"""What replays count as wasted."""

from __future__ import annotations

import numpy as np

from glowplug.sim.replays import Cluster, replay
from glowplug.sim.systems import system_of
from glowplug.sim.workloads.trace import Facts, Trace


def test_what_is_still_unused_when_a_trace_ends_is_wasted_until_then() -> None:
    """The second function is never called. It is loaded when it is deployed, and nobody needs its memory."""
    times_s, calls = np.array([0.0, 100.0]), np.zeros(2, dtype=np.int32)
    trace = Trace(times_s, calls, ("called", "never"), 200.0, Facts.unknown(2))
    found = replay(trace, system_of("ladder", "process"), Cluster(nodes=1, memory_share=4.0))
    assert found.started > 0
    assert found.wasted >= 1
    assert 0.0 < found.wasted_byte_s < 2 * found.memory_bytes.max() * 220.0
