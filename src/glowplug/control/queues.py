"""A function's queue: a line per priority class, first come, first served in each.

The head is the oldest of the highest class, until a lower one was passed over often enough
(core.priority.PASSED_OVER): then the next turn is its own, so that nobody starves, however much comes above.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from glowplug.core.ids import RequestId
from glowplug.core.priority import PASSED_OVER


class Queue(msgspec.Struct):
    """`lanes` holds the classes that have somebody waiting, the highest first; `passed` how often each was
    passed over since its last turn. All but `add_first` and iteration are of constant cost."""

    lanes: dict[int, dict[RequestId, None]] = {}
    passed: dict[int, int] = {}
    length: int = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[RequestId]:
        for lane in self.lanes.values():
            yield from lane

    @property
    def rank(self) -> int:
        """The highest class that waits; 0 when nobody does."""
        return next(iter(self.lanes), 0)

    def add(self, request: RequestId, rank: int) -> None:
        lanes = self.lanes
        if rank in lanes:
            lanes[rank][request] = None
        elif lanes:
            self._lane(rank)[request] = None
        else:
            lanes[rank] = {request: None}
        self.length += 1

    def add_first(self, request: RequestId, rank: int) -> None:
        """For a request that had left the line and comes back: it was the first."""
        lane = self._lane(rank)
        others = list(lane)
        lane.clear()
        lane[request] = None
        lane.update(dict.fromkeys(others))
        self.length += 1

    def _lane(self, rank: int) -> dict[RequestId, None]:
        lane = self.lanes.get(rank)
        if lane is None:
            others = tuple(self.lanes)
            lane = self.lanes[rank] = {}
            if others and others[-1] < rank:
                self.lanes = {r: self.lanes[r] for r in sorted(self.lanes, reverse=True)}
        return lane

    def remove(self, request: RequestId, rank: int) -> None:
        lane = self.lanes[rank]
        del lane[request]
        self.length -= 1
        if not lane:
            del self.lanes[rank]
            self.passed.pop(rank, None)

    def head(self) -> RequestId:
        """The request whose turn it is. Raises StopIteration when none waits."""
        lanes = self.lanes
        return next(iter(lanes[next(iter(lanes)) if len(lanes) == 1 else self.turn()]))

    def take(self) -> RequestId:
        """Takes the head out of the line, and counts which classes were passed over for it."""
        lanes = self.lanes
        rank = next(iter(lanes)) if len(lanes) == 1 else self.turn()
        request = next(iter(lanes[rank]))
        self.pass_over(request, rank)
        self.remove(request, rank)
        return request

    def pass_over(self, request: RequestId, rank: int) -> None:
        """Counts which classes are passed over by a request that has its turn now."""
        lanes = self.lanes
        if len(lanes) > 1:
            for lower in lanes:
                if lower < rank:
                    self.passed[lower] = self.passed.get(lower, 0) + 1
        if self.passed and next(iter(lanes[rank])) == request:
            self.passed.pop(rank, None)

    def turn(self) -> int:
        """The class whose turn it is. Raises StopIteration when nobody waits."""
        lanes = self.lanes
        rank = next(iter(lanes))
        if len(lanes) > 1:
            for lower in lanes:
                if self.passed.get(lower, 0) >= PASSED_OVER[lower] and lower < rank:
                    return lower
        return rank

    def lift(self, request: RequestId, rank: int, to: int) -> None:
        """Moves a request to a higher class, as the first there."""
        self.passed.pop(rank, None)
        self.remove(request, rank)
        self.add_first(request, to)

    def newest_below(self, rank: int) -> RequestId | None:
        """The newest request of the lowest class, if that class is below `rank`: it is dropped first when
        there is no room."""
        if not self.lanes:
            return None
        lowest = next(reversed(self.lanes))
        return next(reversed(self.lanes[lowest])) if lowest < rank else None
