"""Where a worker's time goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


class PhaseTimes(msgspec.Struct, frozen=True):
    """`seconds` by phase, `layers` steps that were computed. `overhead_s` is the median over those of what
    a layer took besides its compute; it includes waiting for slower workers."""

    seconds: dict[str, float]
    layers: int
    layer_s: float
    overhead_s: float


class Phases:
    """One thread only. Of a phase within another, the outer one has only what the inner one leaves."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._within_s = 0.0
        self._layers: list[float] = []
        self._overheads: list[float] = []

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        before_s, self._within_s = self._within_s, 0.0
        began_s = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - began_s
            self.seconds[name] = self.seconds.get(name, 0.0) + took_s - self._within_s
            self._within_s = before_s + took_s

    def add(self, other: Phases) -> None:
        """What another thread measured."""
        for name, seconds in other.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def layers(self, many: int) -> Iterator[None]:
        """So many layers, of which each counts as taking as long."""
        began_s, computed_s = time.perf_counter(), self.seconds.get("compute", 0.0)
        yield
        took_s = time.perf_counter() - began_s
        over_s = took_s - (self.seconds.get("compute", 0.0) - computed_s)
        self._layers += [took_s / many] * many
        self._overheads += [over_s / many] * many

    def times(self) -> PhaseTimes:
        return PhaseTimes(
            self.seconds,
            len(self._layers),
            statistics.median(self._layers) if self._layers else 0.0,
            statistics.median(self._overheads) if self._overheads else 0.0,
        )
