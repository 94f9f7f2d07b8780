"""events: a line for each call, in a CSV file of one's own."""

from __future__ import annotations

from array import array
from math import isfinite
from pathlib import Path

import numpy as np

from glowplug.sim.workloads.csv_rows import broken, rows
from glowplug.sim.workloads.one_by_one import one_by_one
from glowplug.sim.workloads.recorded import Recorded
from glowplug.sim.workloads.trace import Trace


class EventsCsv(Recorded, frozen=True, kw_only=True):
    """Columns `time_s`, `function` and, where known, `duration_s`, in any order of columns and lines.

    Times may begin anywhere, as seconds since 1970 do: the first call is at 0. The window ends one mean gap
    after the last. Functions are numbered as they first appear.
    """

    def read_all(self, seed: int) -> Trace:
        path = Path(self.path)
        times_s, durations_s, functions = array("d"), array("d"), array("i")
        numbers: dict[str, int] = {}
        found = rows(path, ("time_s", "function"), ("duration_s",))
        _, columns = next(found)
        for line, (time, function, *duration) in found:
            times_s.append(_seconds(path, line, "time_s", time, least=-1e18))
            functions.append(numbers.setdefault(function, len(numbers)))
            for each in duration:
                durations_s.append(_seconds(path, line, "duration_s", each, least=0.0))
        known = {"duration_s": np.array(durations_s)} if "duration_s" in columns else {}
        return one_by_one(path, times_s, functions, list(numbers), known)


def _seconds(path: Path, line: int, column: str, text: str, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or value < least:
        raise broken(path, line, column, "seconds", text)
    return value
