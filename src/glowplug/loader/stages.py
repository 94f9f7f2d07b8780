"""When each stage of each unit ran: the record of one load, and what is read off it.

The stages are Cicada's (arXiv 2502.20959): build (its construct), fetch (retrieve), apply, compute (execute).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

Stage = Literal["build", "fetch", "apply", "compute"]
STAGES: tuple[Stage, ...] = ("build", "fetch", "apply", "compute")
WHOLE = -1
"""In place of a unit's number: the stage ran for the load as a whole."""


class Interval(msgspec.Struct, frozen=True, array_like=True):
    """Seconds since the load began. `unit` may be WHOLE."""

    stage: Stage
    unit: int
    start_s: float
    end_s: float


class Timeline(msgspec.Struct, frozen=True):
    """Every interval of one load, sorted by start, and the load's end: its first answer, where that was
    told.
    """

    strategy: str
    layers: tuple[str, ...]
    """What each unit is called: its layers."""
    intervals: tuple[Interval, ...]
    end_s: float

    @property
    def utilisation_union(self) -> float:
        """The share of the time in which any stage was busy: one of two readings of the paper's measure."""
        return union_s(self.intervals) / self.end_s if self.end_s else 0.0

    @property
    def utilisation_compute(self) -> float:
        """The share of the time in which the model computed: the other reading."""
        return self.busy_s("compute") / self.end_s if self.end_s else 0.0

    def busy_s(self, stage: Stage) -> float:
        """Seconds in which this stage was busy, overlapping intervals counted once."""
        return union_s(one for one in self.intervals if one.stage == stage)

    def perfetto(self) -> bytes:
        """The load as Chrome's trace JSON, which Perfetto opens: a track per stage, a slice per unit."""
        events: list[dict[str, Any]] = [
            {"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": {"name": stage}}
            for tid, stage in enumerate(STAGES, 1)
        ]
        for one in self.intervals:
            name = "all" if one.unit == WHOLE else self.layers[one.unit]
            events.append({
                "ph": "X", "pid": 1, "tid": 1 + STAGES.index(one.stage), "name": name, "cat": one.stage,
                "ts": one.start_s * 1e6, "dur": (one.end_s - one.start_s) * 1e6, "args": {"unit": one.unit},
            })  # fmt: skip
        return msgspec.json.encode({"traceEvents": events, "displayTimeUnit": "ms"})


def union_s(intervals: Iterable[Interval]) -> float:
    """Seconds covered by at least one of them."""
    covered_s, end_s = 0.0, float("-inf")
    for one in sorted(intervals, key=lambda one: one.start_s):
        covered_s += max(0.0, one.end_s - max(end_s, one.start_s))
        end_s = max(end_s, one.end_s)
    return covered_s


class Recorder:
    """Takes intervals from any thread. Times are of `time.perf_counter`, the load's start included."""

    def __init__(self, start_s: float) -> None:
        self.start_s = start_s
        self._found: list[Interval] = []
        self._uses: list[tuple[int, float, float]] = []
        self._thread = 0

    def add(self, stage: Stage, unit: int, start_s: float, end_s: float) -> None:
        self._found.append(Interval(stage, unit, start_s - self.start_s, end_s - self.start_s))

    @contextmanager
    def during(self, stage: Stage, unit: int = WHOLE) -> Iterator[None]:
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, unit, start_s, time.perf_counter())

    def used(self, unit: int, asked_s: float, got_s: float) -> None:
        """The computation asked for the unit's weights for the first time, and went on at `got_s`. Only the
        thread that does so first is recorded: two requests at once would tell a muddle."""
        if not self._uses:
            self._thread = threading.get_ident()
        if threading.get_ident() == self._thread:
            self._uses.append((unit, asked_s, got_s))

    def timeline(self, strategy: str, layers: Iterable[str], end_s: float) -> Timeline:
        """`end_s` is when the first answer was there. Computing on a unit lasts until the next is asked
        for.
        """
        ends = [*(asked_s for _, asked_s, _ in self._uses[1:]), end_s][: len(self._uses)]
        computed = [
            Interval("compute", unit, got_s - self.start_s, until_s - self.start_s)
            for (unit, _, got_s), until_s in zip(self._uses, ends, strict=True)
        ]
        intervals = sorted((*self._found, *computed), key=lambda one: (one.start_s, one.end_s))
        return Timeline(strategy, tuple(layers), tuple(intervals), end_s - self.start_s)
