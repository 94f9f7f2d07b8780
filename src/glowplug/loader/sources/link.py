"""A line to a store, on paper: reads take their turns on it, and each its time."""

from __future__ import annotations

import threading

import msgspec


class Turn(msgspec.Struct, frozen=True):
    """When the first and the last of `nbytes` pass, on the clock of whoever asked."""

    start_s: float
    end_s: float
    nbytes: int


class Link:
    """`bandwidth_bytes_s` for all reads together, one after another in the order in which they came."""

    def __init__(self, bandwidth_bytes_s: float) -> None:
        if not bandwidth_bytes_s > 0:
            raise ValueError(f"{bandwidth_bytes_s} bytes a second is no bandwidth")
        self.bandwidth_bytes_s = bandwidth_bytes_s
        self._free_s = float("-inf")
        self._lock = threading.Lock()

    def reserve(self, at_s: float, nbytes: int, until_s: float) -> Turn:
        """The next free turn from `at_s`, for those of `nbytes` that pass before `until_s`.

        What would come later takes no place: its reader will have gone.
        """
        with self._lock:
            start_s = max(at_s, self._free_s)
            end_s = start_s + nbytes / self.bandwidth_bytes_s
            if end_s > until_s:
                nbytes = max(0, int((until_s - start_s) * self.bandwidth_bytes_s))
                end_s = start_s + nbytes / self.bandwidth_bytes_s
            if nbytes:
                self._free_s = end_s
            return Turn(start_s, end_s, nbytes)
