"""A trace in memory: arrays of times and functions, and what is known of each function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.core.errors import InvalidTrace

Floats = NDArray[np.float64]
Indices = NDArray[np.int32]

DURATION_PERCENTILES = (0, 1, 25, 50, 75, 99, 100)
MEMORY_PERCENTILES = (1, 5, 25, 50, 75, 95, 99, 100)
TIMER = "timer"
MAX_CALLS = 200_000_000
"""Some 6 GB while they are sorted; a whole day of the full Azure trace has more."""
MAX_SPAN_S = 1e9
"""31 years: what looks longer was written in another unit."""


class Facts(msgspec.Struct, frozen=True, eq=False):
    """A row for each of n functions; NaN and "" stand for what is not known.

    `duration_s` is (n, 7), at DURATION_PERCENTILES; `memory_bytes` (n, 8), at MEMORY_PERCENTILES; `triggers`
    are what calls a function: `http`, `timer`, `queue`, ...
    """

    duration_s: Floats
    memory_bytes: Floats
    triggers: tuple[str, ...]

    @staticmethod
    def unknown(functions: int) -> Facts:
        return Facts(
            np.full((functions, len(DURATION_PERCENTILES)), np.nan),
            np.full((functions, len(MEMORY_PERCENTILES)), np.nan),
            ("",) * functions,
        )

    def select(self, functions: NDArray[Any]) -> Facts:
        """The rows of `functions`, in that order."""
        triggers = tuple(self.triggers[i] for i in functions.tolist())
        return Facts(self.duration_s[functions], self.memory_bytes[functions], triggers)

    def median_s(self) -> Floats:
        """(n,): the middle of each function's durations."""
        return self.duration_s[:, DURATION_PERCENTILES.index(50)]


class Trace(msgspec.Struct, frozen=True, eq=False):
    """Calls in the window [0, `span_s`): call k is at `times_s[k]` for function number `function[k]`.

    `times_s` is sorted; calls of one time keep the order in which they were given. `names` has a name for
    each function; some may never be called. `columns` are further facts of each call, such as `duration_s`
    or `context_tokens`, as long as `times_s`. Arrays are shared between traces and never written to.
    """

    times_s: Floats
    function: Indices
    names: tuple[str, ...]
    span_s: float
    facts: Facts
    columns: Mapping[str, Floats] = {}

    @property
    def requests(self) -> int:
        return len(self.times_s)

    @property
    def functions(self) -> int:
        return len(self.names)

    @property
    def rate_per_min(self) -> float:
        return 60 * self.requests / self.span_s

    def counts(self) -> NDArray[np.int64]:
        """(functions,): calls of each."""
        return np.bincount(self.function, minlength=self.functions)

    def events(self) -> Iterator[tuple[float, int]]:
        """(time in seconds, number of the function) of each call, in order, as plain numbers."""
        return zip(self.times_s.tolist(), self.function.tolist(), strict=True)

    def validate(self) -> None:
        """Raises InvalidTrace naming what is not as the class says."""
        if not (np.isfinite(self.span_s) and self.span_s > 0):
            raise InvalidTrace(f"a trace of {self.span_s} seconds has no window")
        if self.span_s > MAX_SPAN_S:
            raise InvalidTrace(
                f"a trace of {self.span_s:.3g} seconds is longer than 31 years: are its times in seconds?"
            )
        if len(self.times_s) != len(self.function):
            raise InvalidTrace(f"{len(self.times_s)} times for {len(self.function)} calls")
        if self.requests:
            self._validate_calls()
        for name, column in self.columns.items():
            if len(column) != self.requests:
                raise InvalidTrace(f"column {name} has {len(column)} entries for {self.requests} calls")
        known = (len(self.facts.duration_s), len(self.facts.memory_bytes), len(self.facts.triggers))
        if set(known) != {self.functions}:
            raise InvalidTrace(f"facts of {known} functions for {self.functions}")

    def _validate_calls(self) -> None:
        if not np.isfinite(self.times_s).all() or (np.diff(self.times_s) < 0).any():
            raise InvalidTrace("times are not sorted numbers")
        if self.times_s[0] < 0 or self.times_s[-1] >= self.span_s:
            raise InvalidTrace(
                f"times reach from {self.times_s[0]} to {self.times_s[-1]} s of {self.span_s} s"
            )
        if self.function.min() < 0 or self.function.max() >= self.functions:
            raise InvalidTrace(f"a call is for function {self.function.max()} of {self.functions}")


def trace_of(
    times_s: Floats,
    function: NDArray[Any],
    names: Sequence[str],
    span_s: float,
    facts: Facts | None = None,
    columns: Mapping[str, Floats] | None = None,
) -> Trace:
    """A trace of calls in any order. Raises InvalidTrace when a call lies outside [0, span_s)."""
    columns = columns or {}
    if len(times_s) > 1 and (np.diff(times_s) < 0).any():
        order = np.argsort(times_s, kind="stable")
        times_s, function = times_s[order], function[order]
        columns = {name: column[order] for name, column in columns.items()}
    made = Trace(
        np.ascontiguousarray(times_s, dtype=np.float64),
        np.ascontiguousarray(function, dtype=np.int32),
        tuple(names),
        float(span_s),
        facts if facts is not None else Facts.unknown(len(names)),
        columns,
    )
    made.validate()
    return made
