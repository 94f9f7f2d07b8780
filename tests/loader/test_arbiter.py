"""Which bytes are read next: nothing is lost, nothing read twice, and who matters more waits less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from glowplug.loader.arbiter import PARALLEL, SHARES, Arbiter, Job, Priority, Range, cut

BLOCK = 100


def ranges(*sizes: int, read_bytes: int = BLOCK) -> list[Range]:
    """One unit for each size, side by side."""
    units, offset = [], 0
    for number, size in enumerate(sizes):
        units.append((number, offset, size))
        offset += size
    return cut(units, BLOCK, read_bytes)


def order(arbiter: Arbiter, most: int = 1000, highest: Priority = Priority.INTERACTIVE) -> list[Job]:
    """Everything it hands out when each read ends before the next begins."""
    jobs = []
    while len(jobs) < most and (job := arbiter.next(highest=highest)) is not None:
        arbiter.done(job)
        jobs.append(job)
    return jobs


@given(
    sizes=st.lists(st.integers(0, 1000), max_size=20),
    gaps=st.lists(st.integers(0, 200_000), min_size=20, max_size=20),
    read_bytes=st.integers(BLOCK, 2000),
)
def test_ranges_cover_every_block_once_in_order(sizes: list[int], gaps: list[int], read_bytes: int) -> None:
    units, offset = [], 0
    for number, size in enumerate(sizes):
        units.append((number, offset, size))
        offset += size + gaps[number]
    found = cut(units, BLOCK, read_bytes)
    blocks = [block for one in found for block in one.blocks]
    expected = [(number, at) for number, start, size in units for at in range(start, start + size, BLOCK)]
    assert [(block.unit, block.offset) for block in blocks] == expected
    assert sum(block.nbytes for block in blocks) == sum(sizes)
    for one in found:
        assert one.nbytes <= max(BLOCK, read_bytes)
        assert one.offset == one.blocks[0].offset
        assert one.offset + one.nbytes == one.blocks[-1].offset + one.blocks[-1].nbytes


def test_the_first_reads_are_small_and_grow() -> None:
    assert [one.nbytes for one in ranges(3000, read_bytes=400)][:4] == [100, 200, 400, 400]


def test_reads_before_the_last_unit_are_small_again() -> None:
    found = cut([(0, 0, 3000), (1, 3000, 1000)], BLOCK, 400)
    before = [one.nbytes for one in found if one.offset < 3000]
    assert before[:4] == [100, 200, 400, 400]
    assert before[-3:] == [200, 100, 100]
    assert max(one.nbytes for one in found if one.offset >= 3000) == 400


def test_a_read_goes_on_to_the_end_of_a_unit_that_is_close() -> None:
    def sizes(first: int, read_bytes: int) -> list[int]:
        return [one.nbytes for one in cut([(0, 0, first), (1, 200, 900)], BLOCK, read_bytes)]

    assert sizes(140, 400)[:2] == [140, 200]
    assert sizes(160, 400)[:1] == [100]
    assert sizes(140, 120)[:1] == [100], "no more than one read may bring"


def test_a_load_is_read_in_the_order_of_need() -> None:
    arbiter = Arbiter()
    arbiter.add(ranges(100, 100, 100), Priority.BATCH)
    assert [job.range.blocks[0].unit for job in order(arbiter)] == [0, 1, 2]


def test_what_is_awaited_goes_first() -> None:
    arbiter = Arbiter()
    load = arbiter.add(ranges(100, 100, 100, 100), Priority.BATCH)
    arbiter.stall(load, 2)
    assert [job.range.blocks[0].unit for job in order(arbiter)] == [2, 0, 1, 3]


def test_the_line_is_kept_full_while_the_computation_waits() -> None:
    arbiter = Arbiter()
    load = arbiter.add(ranges(*[100] * 8), Priority.INTERACTIVE, parallel=4)
    arbiter.stall(load, 0)
    started = [arbiter.next() for _ in range(5)]
    assert [job.range.blocks[0].unit for job in started if job] == [0, 1, 2, 3]


def test_a_load_has_no_more_reads_under_way_than_it_asked_for() -> None:
    arbiter = Arbiter()
    arbiter.add(ranges(*[100] * 8), Priority.BATCH, parallel=3)
    assert [arbiter.next() is None for _ in range(4)] == [False, False, False, True]


def test_loads_of_a_class_share_by_weight() -> None:
    arbiter = Arbiter()
    heavy = arbiter.add(ranges(*[100] * 40), Priority.BATCH, weight=3)
    arbiter.add(ranges(*[100] * 40), Priority.BATCH, weight=1)
    first = [job.load for job in order(arbiter, 20)]
    assert first.count(heavy) == pytest.approx(15, abs=1)


def test_a_higher_class_takes_its_share_and_the_lower_one_does_not_starve() -> None:
    arbiter = Arbiter()
    low = arbiter.add(ranges(*[100] * 200), Priority.BACKGROUND)
    arbiter.add(ranges(*[100] * 200), Priority.INTERACTIVE)
    first = [job.load for job in order(arbiter, 99)]
    assert 1 <= first.count(low) <= 99 // SHARES[Priority.INTERACTIVE] + 1


def test_one_read_of_a_lower_class_at_a_time_below_a_higher_one() -> None:
    arbiter = Arbiter()
    low = arbiter.add(ranges(*[100] * 50), Priority.BACKGROUND, parallel=8)
    arbiter.add(ranges(*[100] * 50), Priority.INTERACTIVE, parallel=2)
    started = [job.load for _ in range(20) if (job := arbiter.next()) is not None]
    assert started.count(low) <= 1


def test_a_load_that_is_expected_has_the_line_left_to_it_by_those_below() -> None:
    arbiter = Arbiter()
    arbiter.add(ranges(*[100] * 50), Priority.BATCH, parallel=8)
    arbiter.expect(Priority.BATCH)
    started = [arbiter.next(), arbiter.next()]
    assert None not in started, "its own class goes on"
    arbiter.expect(Priority.INTERACTIVE)
    assert arbiter.next() is None
    for job in started:
        assert job is not None
        arbiter.done(job)
    meanwhile = [arbiter.next() is not None for _ in range(8)]
    assert sum(meanwhile) == 1, "nobody starves"
    arbiter.came(Priority.INTERACTIVE)
    after = [arbiter.next() is not None for _ in range(8)]
    assert sum(after) == PARALLEL[Priority.BATCH] - 1


def test_a_class_saves_up_nothing_while_it_wants_nothing() -> None:
    arbiter = Arbiter()
    arbiter.add(ranges(*[100] * 100), Priority.BATCH)
    order(arbiter, 100)
    late = arbiter.add(ranges(*[100] * 100), Priority.BACKGROUND)
    arbiter.add(ranges(*[100] * 100), Priority.BATCH)
    assert [job.load for job in order(arbiter, 10)].count(late) <= 3


def test_a_promoted_load_is_read_like_one_of_its_new_class() -> None:
    arbiter = Arbiter()
    one = arbiter.add(ranges(*[100] * 50), Priority.BACKGROUND)
    arbiter.add(ranges(*[100] * 50), Priority.BATCH)
    arbiter.promote(one, Priority.INTERACTIVE)
    assert [job.load for job in order(arbiter, 10)].count(one) >= 9


@pytest.mark.parametrize("first", [1, 100])
def test_a_promoted_load_shares_evenly_whatever_both_were_served_before(first: int) -> None:
    arbiter = Arbiter()
    there = arbiter.add(ranges(*[100] * 200), Priority.INTERACTIVE)
    order(arbiter, first)
    late = arbiter.add(ranges(*[100] * 200), Priority.BATCH)
    order(arbiter, 101 - first, highest=Priority.BATCH)
    arbiter.promote(late, Priority.INTERACTIVE)
    assert [job.load for job in order(arbiter, 20)].count(there) == 10


def test_a_load_whose_peers_wait_for_their_next_units_begins_where_they_are() -> None:
    arbiter = Arbiter()
    there = arbiter.add(ranges(*[100] * 50), Priority.INTERACTIVE)
    order(arbiter, 50)
    late = arbiter.add(ranges(*[100] * 50), Priority.BACKGROUND)
    arbiter.promote(late, Priority.INTERACTIVE)
    arbiter.extend(there, ranges(*[100] * 50))
    assert [job.load for job in order(arbiter, 20)].count(there) == 10


def test_a_load_that_wanted_nothing_has_saved_up_nothing() -> None:
    arbiter = Arbiter()
    idle = arbiter.add(ranges(100), Priority.BATCH)
    busy = arbiter.add(ranges(*[100] * 100), Priority.BATCH)
    order(arbiter, 60)
    arbiter.extend(idle, ranges(*[100] * 50))
    assert [job.load for job in order(arbiter, 20)].count(busy) == 10


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        Arbiter().add([], Priority.BATCH, weight=0)


class Reads(RuleBasedStateMachine):
    """Loads come, go, stall and change class; a model counts what each has still to get."""

    def __init__(self) -> None:
        super().__init__()
        self.arbiter = Arbiter()
        self.left: dict[int, int] = {}
        self.parallel: dict[int, int] = {}
        self.flying: list[Job] = []
        self.seen: set[tuple[int, int]] = set()

    @rule(
        units=st.lists(st.integers(1, 350), max_size=6),
        priority=st.sampled_from(Priority),
        parallel=st.integers(1, 4),
        weight=st.sampled_from([0.5, 1.0, 4.0]),
    )
    def add(self, units: list[int], priority: Priority, parallel: int, weight: float) -> None:
        number = self.arbiter.add(ranges(*units, read_bytes=200), priority, weight, parallel)
        self.left[number] = sum(units)
        self.parallel[number] = parallel

    @rule()
    def start(self) -> None:
        job = self.arbiter.next()
        if job is None:
            return
        assert job.load in self.left
        self.left[job.load] -= sum(block.nbytes for block in job.range.blocks)
        for block in job.range.blocks:
            assert (job.load, block.offset) not in self.seen
            self.seen.add((job.load, block.offset))
        self.flying.append(job)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.flying:
            self.arbiter.done(self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1))))

    @rule(data=st.data(), unit=st.integers(0, 5), priority=st.sampled_from(Priority))
    def disturb(self, data: st.DataObject, unit: int, priority: Priority) -> None:
        if not self.left:
            return
        number = data.draw(st.sampled_from(sorted(self.left)))
        what = data.draw(st.sampled_from(["stall", "go_on", "promote"]))
        if what == "promote":
            self.arbiter.promote(number, priority)
        else:
            getattr(self.arbiter, what)(number, unit)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.left:
            number = data.draw(st.sampled_from(sorted(self.left)))
            self.arbiter.remove(number)
            del self.left[number], self.parallel[number]

    @invariant()
    def nothing_is_read_twice(self) -> None:
        assert all(left >= 0 for left in self.left.values())

    @invariant()
    def no_load_has_more_under_way_than_it_may(self) -> None:
        for number, most in self.parallel.items():
            assert sum(job.load == number for job in self.flying) <= most

    def teardown(self) -> None:
        """When all reads end, everything that is wanted gets started: nobody waits for ever."""
        for job in self.flying:
            self.arbiter.done(job)
        for job in order(self.arbiter, 10_000):
            if job.load in self.left:
                self.left[job.load] -= sum(block.nbytes for block in job.range.blocks)
        assert not any(self.left.values())
        assert self.arbiter.serves(Priority.BACKGROUND, Priority.INTERACTIVE) == bool(self.left)


TestReads = Reads.TestCase
