"""What waits to be done, purely: by when it is due, by its priority, and by whose turn it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

import msgspec

from glowplug.core.calls import CallId


class Entry(msgspec.Struct, frozen=True):
    """`lane` is what it shares turns with: a function, a host. `size_bytes` is held while it runs."""

    call: CallId
    lane: str
    due_s: float
    priority: int = 0
    size_bytes: int = 0


class _Lane:
    def __init__(self) -> None:
        self.ready: list[tuple[int, float, CallId, Entry]] = []
        self.running = 0
        self.has_turn = False


class Backlog:
    """Lanes take turns; inside one the higher priority goes first, then what was due first.

    At most `at_once` run in all, `per_lane(name)` of one lane (at least 1; it may change), and of more than
    one together at most `max_bytes`.
    """

    def __init__(self, at_once: int, per_lane: Callable[[str], int], max_bytes: int) -> None:
        self._at_once = at_once
        self._per_lane = per_lane
        self._max_bytes = max_bytes
        self._waiting: dict[CallId, Entry] = {}
        """What is in the heaps but not here is stale."""
        self._later: list[tuple[float, CallId, Entry]] = []
        self._lanes: dict[str, _Lane] = {}
        self._turns: deque[str] = deque()
        """Lanes that have something ready and room for it, each once."""
        self._running: dict[CallId, Entry] = {}
        self._running_bytes = 0

    def add(self, entry: Entry) -> None:
        """Replaces an entry of the same call. One that runs now waits until it was given back."""
        self._waiting[entry.call] = entry
        if entry.call not in self._running:
            heappush(self._later, (entry.due_s, entry.call, entry))

    def discard(self, call: CallId) -> None:
        """It waits no more; one that runs goes on."""
        self._waiting.pop(call, None)

    def take(self, now_s: float) -> list[Entry]:
        """What may run now; each is to be given back with `release`."""
        self._ripen(now_s)
        taken: list[Entry] = []
        while self._turns and len(self._running) < self._at_once:
            name = self._turns[0]
            lane = self._lanes[name]
            if lane.running >= self._per_lane(name):
                self._turns.popleft()
                lane.has_turn = False
                continue
            entry = lane.ready[0][3]
            is_current = self._waiting.get(entry.call) is entry
            if is_current and self._running and self._running_bytes + entry.size_bytes > self._max_bytes:
                break
            heappop(lane.ready)
            self._turns.popleft()
            lane.has_turn = False
            if is_current:
                del self._waiting[entry.call]
                lane.running += 1
                self._running[entry.call] = entry
                self._running_bytes += entry.size_bytes
                taken.append(entry)
            self._settle(name, lane)
        return taken

    def release(self, entry: Entry) -> None:
        del self._running[entry.call]
        self._running_bytes -= entry.size_bytes
        lane = self._lanes[entry.lane]
        lane.running -= 1
        self._settle(entry.lane, lane)
        again = self._waiting.get(entry.call)
        if again is not None:
            heappush(self._later, (again.due_s, again.call, again))

    @property
    def next_due_s(self) -> float | None:
        """When `take` may find more than now, unless something is released or added before."""
        return self._later[0][0] if self._later else None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    def _ripen(self, now_s: float) -> None:
        while self._later and self._later[0][0] <= now_s:
            due_s, call, entry = heappop(self._later)
            if self._waiting.get(call) is not entry:
                continue
            lane = self._lanes.get(entry.lane)
            if lane is None:
                lane = self._lanes[entry.lane] = _Lane()
            heappush(lane.ready, (-entry.priority, due_s, call, entry))
            self._settle(entry.lane, lane)

    def _settle(self, name: str, lane: _Lane) -> None:
        """A lane that has something ready and room for it gets a turn; one that has nothing goes."""
        if lane.ready:
            if not lane.has_turn and lane.running < self._per_lane(name):
                lane.has_turn = True
                self._turns.append(name)
        elif not lane.running:
            del self._lanes[name]

    def validate(self) -> None:
        """Raises AssertionError when the books do not agree."""
        assert len(self._turns) == len(set(self._turns))
        assert set(self._turns) <= self._lanes.keys()
        for name, lane in self._lanes.items():
            held = [entry for entry in self._running.values() if entry.lane == name]
            assert lane.running == len(held)
            assert lane.running or lane.ready
            assert (name in self._turns) == lane.has_turn <= bool(lane.ready)
            assert lane.has_turn or not lane.ready or lane.running
        in_heaps = {entry[-1].call for entry in self._later}
        in_heaps |= {entry[-1].call for lane in self._lanes.values() for entry in lane.ready}
        assert self._waiting.keys() <= in_heaps | self._running.keys()
        assert self._running_bytes == sum(entry.size_bytes for entry in self._running.values())
        assert self._running_bytes <= self._max_bytes or len(self._running) == 1
        assert len(self._running) <= self._at_once
