"""A node's disk in virtual time: who reads at once shares it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from glowplug.core.commands import Target
from glowplug.sim.agenda import Agenda

_DONE_S = 1e-9


class SharedDisk:
    """Each of n readers gets on at an n-th of the pace that it has alone."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._left_s: dict[Target, float] = {}
        """Of each reader, what it would still take alone."""
        self._then: dict[Target, Callable[[], object]] = {}
        self._since_s = 0.0
        self._turn = 0

    def read(self, reader: Target, alone_s: float, then: Callable[[], object]) -> None:
        """Calls `then` when that has been read, which takes `alone_s` with nobody beside it."""
        self._get_on()
        self._left_s[reader], self._then[reader] = alone_s, then
        self._plan()

    def give_up(self, reader: Target) -> None:
        """Not an error for one that does not read."""
        if reader in self._left_s:
            self._get_on()
            del self._left_s[reader], self._then[reader]
            self._plan()

    def _get_on(self) -> None:
        """Brings what everybody has left to this moment."""
        passed_s = (self._agenda.now_s - self._since_s) / max(1, len(self._left_s))
        self._since_s = self._agenda.now_s
        for reader in self._left_s:
            self._left_s[reader] -= passed_s

    def _plan(self) -> None:
        """Looks again when the next one is done; what was planned before is void."""
        self._turn += 1
        if self._left_s:
            next_s = max(0.0, min(self._left_s.values())) * len(self._left_s)
            self._agenda.at(self._agenda.now_s + next_s, partial(self._look, self._turn))

    def _look(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._get_on()
        done = [reader for reader, left_s in self._left_s.items() if left_s <= _DONE_S]
        after = [self._then.pop(reader) for reader in done]
        for reader in done:
            del self._left_s[reader]
        self._plan()
        for then in after:
            then()
