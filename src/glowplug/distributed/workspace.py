"""The two buffers of a worker: a layer's x and its output, over the samples that live."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.network import Floats
from glowplug.distributed.workload.serial import live_columns

_WORTH = 0.9
"""Columns are moved together when fewer than this share of them live."""


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
            narrow, values = values, np.zeros((len(values), len(self._columns)), np.float32)
            values[:, np.searchsorted(self._columns, columns)] = narrow
        self.x[rows] = values

    def revive(self, columns: Columns) -> None:
        """Takes in samples that something was sent for."""
        if len(self._columns) == self.samples or _is_in(columns, self._columns):
            return
        lives = np.zeros(self.samples, np.bool_)
        lives[self._columns] = lives[columns] = True
        every = np.flatnonzero(lives)
        places = np.searchsorted(every, self._columns)
        kept = self.x.copy(), self.out.copy()
        self._columns = every
        self.x, self.out = self._views()
        for view, old in zip((self.x, self.out), kept, strict=True):
            view[:] = 0
            view[:, places] = old

    def drop_dead(self, rows: int) -> None:
        """Leaves out the samples for which the first `rows` of x have nothing."""
        if not len(self._columns):
            return
        lives = live_columns(self.x[:rows])
        if np.count_nonzero(lives) > _WORTH * len(lives):
            return
        kept = self.x[:, lives], self.out[:, lives]
        self._columns = self._columns[lives]
        self.x, self.out = self._views()
        self.x[:], self.out[:] = kept

    def _views(self) -> tuple[Floats, Floats]:
        shape = self._height, len(self._columns)
        x, out = (buffer[: shape[0] * shape[1]].reshape(shape) for buffer in self._buffers)
        return x, out


def _is_in(some: Columns, all_: Columns) -> bool:
    """Both ascending."""
    if len(some) == len(all_):
        return bool((some == all_).all())
    places = np.searchsorted(all_, some)
    return not len(some) or (places[-1] < len(all_) and bool((all_[places] == some).all()))
