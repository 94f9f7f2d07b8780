"""Which bytes to read next, over all loads in progress: Cicada's priority-aware scheduler. No clock, no I/O.

Within a load what the computation needs first comes first; on a stall what is awaited goes ahead. Between
classes bandwidth is shared by weight, so that a higher class hardly notices a lower one and nobody starves;
between loads of a class likewise, those that stall first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from enum import IntEnum

import msgspec


class Priority(IntEnum):
    """What waits for a load: nobody yet, a batch of work, or somebody at a screen."""

    BACKGROUND = 0
    BATCH = 1
    INTERACTIVE = 2


SHARES = {Priority.INTERACTIVE: 64, Priority.BATCH: 4, Priority.BACKGROUND: 1}
"""Of the bandwidth, while several classes want some."""
PARALLEL = {Priority.INTERACTIVE: 64, Priority.BATCH: 3, Priority.BACKGROUND: 2}
"""At most so many reads of a whole class below the highest are under way: what is on the link when
somebody more important comes cannot be recalled, and two or three large reads keep most links busy."""


class Block(msgspec.Struct, frozen=True, array_like=True):
    """The `number`-th block of a unit; its offset counts from the start of the weights."""

    unit: int
    number: int
    offset: int
    nbytes: int


class Range(msgspec.Struct, frozen=True, array_like=True):
    """What one read brings: whole blocks, of one unit or of several that lie side by side."""

    offset: int
    nbytes: int
    blocks: tuple[Block, ...]


class Job(msgspec.Struct, frozen=True):
    """A range to be read now for a load. Give it back by `Arbiter.done`."""

    load: int
    range: Range


class _Load:
    def __init__(self, ranges: Iterable[Range], priority: Priority, weight: float, parallel: int) -> None:
        self.pending = deque(ranges)
        self.priority = priority
        self.weight = weight
        self.parallel = parallel
        self.in_flight = 0
        self.served = 0.0
        self.awaited: int | None = None

    @property
    def wants(self) -> bool:
        # Also while what is awaited is on its way: an idle line would make everything after it late.
        return bool(self.pending) and self.in_flight < self.parallel


class Arbiter:
    """`next` says what to read, `done` that it was. Every range of every load is handed out exactly once.
    `made` loads were there before, of another one: their numbers are not used again."""

    def __init__(self, made: int = 0) -> None:
        self._loads: dict[int, _Load] = {}
        self.made = made
        self._served = dict.fromkeys(Priority, 0.0)
        """Virtual time by class: bytes by share."""
        self._now = 0.0
        """The virtual time at which the last read began (start-time fair queueing, Goyal et al., 1996)."""
        self._reached = dict.fromkeys(Priority, 0.0)
        """The same within each class: what the load that was read for last had been served before."""
        self._expected = dict.fromkeys(Priority, 0)

    def add(self, ranges: Sequence[Range], priority: Priority, weight: float = 1.0, parallel: int = 4) -> int:
        """A load whose ranges are in the order of need. At most `parallel` are under way at once.

        Raises ValueError for a weight or a number that is not above zero.
        """
        if weight <= 0 or parallel <= 0:
            raise ValueError("a load's weight and parallel reads must be above zero")
        self.made += 1
        load = self._loads[self.made] = _Load((), priority, weight, parallel)
        load.served = self._virtual_time(priority)
        self.extend(self.made, ranges)
        return self.made

    def expect(self, priority: Priority) -> None:
        """A load of this class is about to come: those below leave it the line as if it were there. Each ends
        by `came`."""
        self._expected[priority] += 1

    def came(self, priority: Priority) -> None:
        """One that was expected is there, or will never be."""
        self._expected[priority] -= 1

    def extend(self, number: int, ranges: Sequence[Range]) -> None:
        """More of a load, needed after what it has. An unknown load is ignored."""
        load = self._loads.get(number)
        if load is not None:
            if not load.pending:
                self._catch_up(load.priority)
                load.served = max(load.served, self._virtual_time(load.priority))
            load.pending.extend(ranges)

    def next(
        self, lowest: Priority = Priority.BACKGROUND, highest: Priority = Priority.INTERACTIVE
    ) -> Job | None:
        """The next range of a class between these, or None when there is nothing to start now."""
        wanting = [
            (number, load)
            for number, load in self._loads.items()
            if lowest <= load.priority <= highest and load.wants and not self._must_yield(load)
        ]
        if not wanting:
            return None
        best = min({load.priority for _, load in wanting}, key=lambda p: (self._served[p], -p))
        number, load = min(
            ((n, one) for n, one in wanting if one.priority == best),
            key=lambda pair: (pair[1].awaited is None, pair[1].served, pair[0]),
        )
        found = load.pending.popleft()
        load.in_flight += 1
        self._reached[best] = load.served
        load.served += found.nbytes / load.weight
        self._now = self._served[best]
        self._served[best] += found.nbytes / SHARES[best]
        return Job(number, found)

    def done(self, job: Job) -> None:
        """The range was read, or failed; a load that was removed meanwhile is ignored."""
        load = self._loads.get(job.load)
        if load is not None:
            load.in_flight -= 1

    def stall(self, number: int, unit: int) -> None:
        """The computation waits for this unit: what is left of it goes first."""
        load = self._loads.get(number)
        if load is None:
            return
        load.awaited = unit
        urgent = [one for one in load.pending if unit in _units(one)]
        if urgent and urgent[0] is not load.pending[0]:
            load.pending = deque((*urgent, *(one for one in load.pending if unit not in _units(one))))

    def go_on(self, number: int, unit: int) -> None:
        """The unit is there: whoever waited for it waits no more."""
        load = self._loads.get(number)
        if load is not None and load.awaited == unit:
            load.awaited = None

    def promote(self, number: int, priority: Priority) -> None:
        """Moves a load to another class, with what it has still to read: there it is one that just came,
        whatever it was served before. An unknown one is ignored."""
        load = self._loads.get(number)
        if load is not None and load.priority != priority:
            self._catch_up(priority)
            load.served = self._virtual_time(priority)
            load.priority = priority

    def remove(self, number: int) -> None:
        """The load is over or given up. A second time does nothing."""
        self._loads.pop(number, None)

    def serves(self, lowest: Priority, highest: Priority) -> bool:
        """Whether any load of a class between these is there, be it that it wants nothing now."""
        return any(lowest <= load.priority <= highest for load in self._loads.values())

    def starves(self, kind: Priority) -> bool:
        """Whether a load of the class has nothing under way, and could have."""
        return any(
            load.priority == kind and load.wants and not load.in_flight and not self._must_yield(load)
            for load in self._loads.values()
        )

    def _must_yield(self, load: _Load) -> bool:
        """Below a class at work one read at a time is enough, and only when that class had its share: what is
        on the link cannot be recalled."""
        same = sum(one.in_flight for one in self._loads.values() if one.priority == load.priority)
        if same >= PARALLEL[load.priority]:
            return True
        above = [one for one in self._loads.values() if one.priority > load.priority]
        expected = any(self._expected[kind] for kind in Priority if kind > load.priority)
        if not expected and not any(one.pending or one.in_flight for one in above):
            return False
        if any(one.in_flight for one in self._loads.values() if one.priority <= load.priority):
            return True
        served = self._served
        return any(one.pending and served[load.priority] > served[one.priority] for one in above)

    def _virtual_time(self, priority: Priority) -> float:
        """Where a load of the class begins: beside the one that was served least of those that want more."""
        wanting = [load.served for load in self._loads.values() if load.priority == priority and load.pending]
        return min(wanting, default=self._reached[priority])

    def _catch_up(self, priority: Priority) -> None:
        """A class that wanted nothing has saved up nothing."""
        if not any(load.pending for load in self._loads.values() if load.priority == priority):
            self._served[priority] = max(self._served[priority], self._now)


def _units(one: Range) -> set[int]:
    return {block.unit for block in one.blocks}


def cut(units: Sequence[tuple[int, int, int]], block_bytes: int, read_bytes: int) -> list[Range]:
    """The ranges of a load, from its units' (number, offset, bytes) in the order of need.

    The first reads are small, so that the computation starts early; then up to `read_bytes` at once, over
    the gaps between units; and small again before the last unit, for what they bring is still to be computed
    when that has come. A read goes on to the end of a unit that is close: without it the unit is of no use.
    """
    ranges: list[Range] = []
    group: list[Block] = []
    limit = block_bytes
    left = sum(nbytes for _, _, nbytes in units[:-1])
    for unit, start, nbytes in units:
        end = start + nbytes
        for number, offset in enumerate(range(start, end, block_bytes)):
            block = Block(unit, number, offset, min(block_bytes, end - offset))
            if group and (_apart(group[-1], block) or not _fits(group, block, end, limit, read_bytes)):
                ranges.append(_range(group))
                group, limit = [], min(read_bytes, 2 * limit)
                if left > 0:
                    limit = min(limit, max(block_bytes, left // 2))
            group.append(block)
            left -= block.nbytes
    if group:
        ranges.append(_range(group))
    return ranges


def _fits(group: Sequence[Block], block: Block, unit_end: int, limit: int, read_bytes: int) -> bool:
    """Whether the block may be read with those before it; so may one with which, or soon after which, the
    unit that they began ends."""
    begin = group[0].offset
    if block.offset + block.nbytes - begin <= limit:
        return True
    return block.unit == group[-1].unit and unit_end - begin <= min(read_bytes, 3 * limit // 2)


def _apart(one: Block, other: Block) -> bool:
    """Units in another order than in the file, or with a hole between them that is not worth reading."""
    gap = other.offset - one.offset - one.nbytes
    return gap < 0 or gap > _MOST_GAP_BYTES


_MOST_GAP_BYTES = 64 * 2**10


def _range(blocks: Sequence[Block]) -> Range:
    start, last = blocks[0].offset, blocks[-1]
    return Range(start, last.offset + last.nbytes - start, tuple(blocks))
