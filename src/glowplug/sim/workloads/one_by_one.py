"""A trace of calls as they were recorded one by one, at times of some clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from glowplug.core.errors import InvalidTrace
from glowplug.sim.workloads.trace import Floats, Trace, trace_of


def one_by_one(
    path: Path,
    times_s: Sequence[float],
    functions: Sequence[int],
    names: Sequence[str],
    columns: Mapping[str, Floats],
) -> Trace:
    """The calls of the file `path`: the first is at 0, and the window ends one mean gap after the last.

    Raises InvalidTrace where there are none.
    """
    if not len(times_s):
        raise InvalidTrace(f"{path} has no calls")
    times = np.array(times_s)
    times -= times.min()
    last_s = float(times.max())
    span_s = last_s * len(times) / (len(times) - 1) if last_s > 0 else 1.0
    return trace_of(times, np.array(functions), names, span_s, columns=columns)
