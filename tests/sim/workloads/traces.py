"""Traces for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from glowplug.sim.workloads.trace import Trace, trace_of

HOUR = Path(__file__).parents[4] / "shared" / "traces" / "azure2019_1h_1000fn"
"""The recorded hour; where it is not, its tests are skipped."""


def trace(*calls: Sequence[float], span_s: float = 100.0) -> Trace:
    """Function k is called at the times of `calls[k]`."""
    times = np.array([at_s for each in calls for at_s in each], dtype=float)
    function = np.repeat(np.arange(len(calls)), [len(each) for each in calls])
    return trace_of(times, function, [f"f{k}" for k in range(len(calls))], span_s)


def at(made: Trace, function: int) -> list[float]:
    """When a function is called."""
    return made.times_s[made.function == function].tolist()


TRACES = st.lists(
    st.lists(st.floats(0, 99.0, allow_subnormal=False), max_size=12), min_size=1, max_size=6
).map(lambda calls: trace(*calls))
