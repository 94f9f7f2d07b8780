"""What will happen when: a heap of (time, order of entry, action)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush

Action = Callable[[], object]


class Agenda:
    """Virtual time. Actions of one time run in the order they were entered."""

    def __init__(self, start_s: float = 0.0) -> None:
        self.now_s = start_s
        self._entries: list[tuple[float, int, Action]] = []
        self._planned: list[tuple[float, int, Action]] = []
        self._entered = 0

    def at(self, at_s: float, action: Action) -> int:
        """Returns the entry's number, which orders it among those of the same time."""
        self._entered += 1
        heappush(self._entries, (max(at_s, self.now_s), self._entered, action))
        return self._entered

    def plan(self, actions: Iterable[tuple[float, Action]]) -> None:
        """Enters many at once, in any order of their times: a heap of millions would cost each step more."""
        for at_s, action in actions:
            self._entered += 1
            self._planned.append((max(at_s, self.now_s), self._entered, action))
        self._planned.sort(reverse=True)

    def run(self, until_s: float) -> None:
        """Runs all entries up to and including `until_s`; the time is that afterwards."""
        while self.step(until_s):
            pass
        self.now_s = max(self.now_s, until_s)

    def step(self, until_s: float) -> bool:
        """Runs the next entry, at its time; False when there is none up to and including `until_s`."""
        planned, entries = self._planned, self._entries
        if planned and not (entries and entries[0] < planned[-1]):
            if planned[-1][0] > until_s:
                return False
            self.now_s, _, action = planned.pop()
        elif entries and entries[0][0] <= until_s:
            self.now_s, _, action = heappop(entries)
        else:
            return False
        action()
        return True
