"""The two buffers of a worker: a layer's x and its output, over the samples that live."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.network import Floats
from glowplug.distributed.workload.serial import live_columns

_WORTH = 0.98
"""Columns are moved together when fewer than this share of them live: once, and what is dead costs in every
layer that follows, where rows that were alike but for it are sent."""

Columns = NDArray[np.int64]


class Workspace:
    """`x` and `out` (height, living samples) change places when a layer is done: the output is the head of
    the next x.

    A sample whose x is zero everywhere gives zeros, so its column is left out until somebody sends
    something for it. Views are valid until columns are dropped, revived or the turn ends.
    """

    def __init__(self, height: int, samples: int) -> None:
        self._height = height
        self._buffers = [np.empty(height * samples, np.float32) for _ in range(2)]
        self.samples = samples
        self._columns: Columns = np.arange(samples)
        self.x, self.out = self._views()

    def open(self, samples: int) -> None:
        """Another share: all of its samples, of which nothing is there yet."""
        self.samples = samples
        self._columns = np.arange(samples)
        self.x, self.out = self._views()

    def turn(self) -> None:
        self._buffers.reverse()
        self.x, self.out = self._views()

    def whole(self, values: Floats) -> Floats:
        """`values` (rows, living samples) over all samples. A copy, or `values` itself where all live."""
        if len(self._columns) == self.samples:
            return values
        found = np.zeros((len(values), self.samples), np.float32)
        found[:, self._columns] = values
        return found

    @property
    def columns(self) -> Columns:
        """The living samples, ascending."""
        return self._columns

    def put(self, rows: slice | NDArray[np.integer], columns: Columns, values: Floats) -> None:
        """`values` (rows, columns) into rows of x; `columns` live, and the others are zero there."""
        if len(columns) < len(self._columns):
            values = _spread(values, columns, self._columns)
        self.x[rows] = values

    def revive(self, columns: Iterable[Columns], rows: int, *, keeps_out: bool = True) -> None:
        """Takes in samples that something was sent for. Of x the first `rows` stay, and the output if it is
        kept."""
        lives = np.zeros(self.samples, np.bool_)
        for some in (self._columns, *columns):
            lives[some] = True
        every = np.flatnonzero(lives)
        if len(every) == len(self._columns):
            return
        kept = [_spread(values, self._columns, every) for values in self._kept(rows, keeps_out)]
        self._move(every, kept)

    def drop_dead(self, rows: int, *, keeps_out: bool = True) -> None:
        """Leaves out the samples for which the first `rows` of x have nothing. These stay, and the output if
        it is kept."""
        if not len(self._columns):
            return
        places = np.flatnonzero(live_columns(self.x[:rows]))
        if len(places) > _WORTH * len(self._columns):
            return
        kept = [np.take(values, places, axis=1) for values in self._kept(rows, keeps_out)]
        self._move(self._columns[places], kept)

    def _kept(self, rows: int, keeps_out: bool) -> tuple[Floats, Floats]:
        return self.x[:rows], self.out[: self._height if keeps_out else 0]

    def _move(self, columns: Columns, kept: Iterable[Floats]) -> None:
        self._columns = columns
        self.x, self.out = self._views()
        for view, values in zip((self.x, self.out), kept, strict=True):
            view[: len(values)] = values

    def _views(self) -> tuple[Floats, Floats]:
        shape = self._height, len(self._columns)
        x, out = (buffer[: shape[0] * shape[1]].reshape(shape) for buffer in self._buffers)
        return x, out


def _spread(values: Floats, columns: Columns, every: Columns) -> Floats:
    """`values` (rows, columns) over `every` column, which are more; all ascending."""
    if not len(columns):
        return np.zeros((len(values), len(every)), np.float32)
    places = np.minimum(np.searchsorted(columns, every), len(columns) - 1)
    found = np.take(values, places, axis=1)
    found[:, columns[places] != every] = 0
    return found
