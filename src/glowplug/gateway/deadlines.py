"""Deadlines of everything a gateway waits for, in slots of time: setting and dropping one costs next to
nothing, however many there are, for nearly all are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

SLOT_S = 0.05
"""A deadline is told of at most so much late."""


class Waits(Protocol):
    """What has a deadline; `slot` is this module's to write, 0 while it has none."""

    slot: int

    def expire(self) -> None:
        """Its time is over. It has no deadline any more, and may set another."""


class Deadlines:
    """Used from one event loop. `clock` gives the seconds that deadlines are in. The loop is woken only while
    something waits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: dict[int, dict[Waits, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, what: Waits, at_s: float) -> None:
        """Sets or moves its deadline."""
        number = int(at_s / SLOT_S) + 1
        if what.slot == number:
            return
        if what.slot:
            self.drop(what)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
        slot[what] = None
        what.slot = number
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SLOT_S, self._look)

    def drop(self, what: Waits) -> None:
        """Removes its deadline. No error if it has none."""
        number, what.slot = what.slot, 0
        slot = self._slots.get(number)
        if slot is not None:
            slot.pop(what, None)
            if not slot:
                del self._slots[number]

    def _look(self) -> None:
        self._timer = None
        now = int(self._clock() / SLOT_S)
        for number in sorted(number for number in self._slots if number <= now):
            for what in list(self._slots.pop(number)):
                what.slot = 0
                what.expire()
        if self._slots:
            self._timer = asyncio.get_running_loop().call_later(SLOT_S, self._look)

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def close(self) -> None:
        """Nothing expires any more."""
        if self._timer is not None:
            self._timer.cancel()
        for slot in self._slots.values():
            for what in slot:
                what.slot = 0
        self._slots.clear()
