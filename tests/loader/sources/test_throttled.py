"""A store on paper keeps its bandwidth, its latency and its seed, on whatever clock."""

from __future__ import annotations

import math
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.loader.clock import RealClock
from glowplug.loader.errors import (
    RangeRefused,
    ReadDeadline,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)  # fmt: skip
from glowplug.loader.sources.base import BoundedSource, WeightSource
from glowplug.loader.sources.faults import Fates, Fault, Faults
from glowplug.loader.sources.link import Link
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.sources.throttled import ThrottledSource
from glowplug.testing.source_suite import CONTENT, read
from tests.loader.sources.clock import ManualClock


def store(clock: ManualClock, at: dict[int, Fault] | None = None, latency_s: float = 0.5) -> ThrottledSource:
    """1000 bytes a second, half a second away."""
    return ThrottledSource(
        MemorySource(CONTENT),
        bandwidth_bytes_s=1000,
        latency_s=latency_s,
        faults=Faults(at=at or {}),
        stall_s=7.0,
        clock=clock,
    )


def test_a_read_takes_its_latency_and_its_bytes() -> None:
    clock = ManualClock(100.0)
    source = store(clock)
    assert read(source, 0, 2000) == CONTENT[:2000]
    assert clock.now_s() == pytest.approx(102.5)
    read(source, 5000, 500)
    assert clock.now_s() == pytest.approx(103.5)


def test_reading_nothing_takes_no_time() -> None:
    clock = ManualClock(100.0)
    read(store(clock), 0, 0)
    assert clock.now_s() == 100.0


def test_reads_share_the_line_one_after_another() -> None:
    line = Link(1000)
    turns = [line.reserve(at_s, 500, math.inf) for at_s in (10.0, 10.1, 12.0)]
    assert [(turn.start_s, turn.end_s) for turn in turns] == [(10.0, 10.5), (10.5, 11.0), (12.0, 12.5)]


def test_sources_may_share_a_line() -> None:
    clock, line = ManualClock(100.0), Link(1000)
    one, other = (ThrottledSource(MemorySource(CONTENT), link=line, clock=clock) for _ in range(2))
    with pytest.raises(ReadDeadline):
        one.read_within(bytearray(2000), 0, 2000, 1.0)
    assert clock.now_s() == pytest.approx(101.0)
    line.reserve(101.0, 500, math.inf)
    assert read(other, 0, 1000) == CONTENT[:1000]
    assert clock.now_s() == pytest.approx(102.5)


def test_a_store_has_one_line() -> None:
    for lines in ({}, {"link": Link(1000), "bandwidth_bytes_s": 1000.0}):
        with pytest.raises(ValueError, match="either"):
            ThrottledSource(MemorySource(b""), **lines)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 5000), st.floats(0, 3)), max_size=30))
def test_the_line_never_carries_more_than_it_can(asked: list[tuple[float, int, float]]) -> None:
    line, free_s = Link(1000), -math.inf
    for at_s, nbytes, within_s in sorted(asked):
        turn = line.reserve(at_s, nbytes, at_s + within_s)
        assert 0 <= turn.nbytes <= nbytes
        assert turn.end_s == pytest.approx(turn.start_s + turn.nbytes / 1000)
        assert turn.start_s >= at_s
        if turn.nbytes:
            assert turn.start_s >= free_s
            assert turn.end_s <= at_s + within_s + 1e-9
            free_s = turn.end_s
        assert turn.nbytes == nbytes or turn.start_s + (turn.nbytes + 1) / 1000 > at_s + within_s - 1e-9


def test_who_leaves_gives_its_place_on_the_line_away() -> None:
    clock = ManualClock(100.0)
    source = store(clock)
    buffer = bytearray(5000)
    with pytest.raises(ReadDeadline, match="1500 of 5000 bytes at 0") as raised:
        source.read_within(buffer, 0, 5000, 2.0)
    assert raised.value.done_bytes == 1500
    assert buffer == CONTENT[:1500] + bytes(3500)
    assert clock.now_s() == pytest.approx(102.0)
    read(source, 0, 1000)
    assert clock.now_s() == pytest.approx(103.5)


def test_a_deadline_before_the_first_byte() -> None:
    clock = ManualClock(100.0)
    with pytest.raises(ReadDeadline) as raised:
        store(clock).read_within(bytearray(10), 0, 10, 0.25)
    assert raised.value.done_bytes == 0
    assert clock.now_s() == pytest.approx(100.25)


@pytest.mark.parametrize("bandwidth_bytes_s", [0, -1.0, math.nan])
def test_no_bandwidth_is_refused(bandwidth_bytes_s: float) -> None:
    with pytest.raises(ValueError, match="no bandwidth"):
        ThrottledSource(MemorySource(b""), bandwidth_bytes_s=bandwidth_bytes_s)


def test_waits_end_when_they_are_due_and_not_before() -> None:
    clock = RealClock()
    due_s = clock.now_s() + 0.002
    clock.wait_until(due_s)
    assert clock.now_s() >= due_s
    clock.wait_until(due_s - 10)


def test_its_advice_keeps_the_line_busy() -> None:
    def parallel(latency_s: float) -> int:
        source: WeightSource = ThrottledSource(
            MemorySource(b""), bandwidth_bytes_s=4e9, latency_s=latency_s, clock=ManualClock()
        )
        assert not source.advice.mappable
        return source.advice.parallel

    assert parallel(0.0) == 3
    assert parallel(0.01) * 4 * 2**20 >= 0.01 * 4e9
    assert isinstance(store(ManualClock()), BoundedSource)


@pytest.mark.parametrize(
    ("fault", "done", "after_s"),
    [(Fault.RESET, 300, 0.8), (Fault.SHORT, 300, 0.8), (Fault.STALL, 300, 7.8), (Fault.LONG, 0, 1.5)],
)
def test_broken_answers_say_what_came(fault: Fault, done: int, after_s: float) -> None:
    clock = ManualClock(100.0)
    source = store(clock, {1300: fault})
    buffer = bytearray(1000)
    with pytest.raises(SourceUnavailable, match="reading 1000 bytes at 1000") as raised:
        source.read_into(buffer, 1000, 1000)
    assert raised.value.done_bytes == done
    assert buffer[:done] == CONTENT[1000 : 1000 + done]
    assert clock.now_s() == pytest.approx(100.0 + after_s)
    assert read(source, 1000, 1000) == CONTENT[1000:2000]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.FORBIDDEN, SourceRefused),
        (Fault.MISSING, SourceMissing),
        (Fault.UNSATISFIABLE, RangeRefused),
        (Fault.BROKEN, SourceUnavailable),
    ],
)
def test_statuses_come_after_the_latency(fault: Fault, kind: type[SourceError]) -> None:
    clock = ManualClock(100.0)
    with pytest.raises(kind, match=f"{fault.value} for 10 bytes at 0"):
        read(store(clock, {5: fault}), 0, 10)
    assert clock.now_s() == pytest.approx(100.5)


def test_a_flipped_bit_is_passed_on() -> None:
    arrived = read(store(ManualClock(), {1003: Fault.FLIP}), 1000, 1000)
    wrong = [at for at in range(1000) if arrived[at] != CONTENT[1000 + at]]
    assert wrong == [3]
    assert (arrived[3] ^ CONTENT[1003]).bit_count() == 1


def test_a_stalled_read_can_be_given_up() -> None:
    clock = ManualClock(100.0)
    with pytest.raises(ReadDeadline) as raised:
        store(clock, {300: Fault.STALL}).read_within(bytearray(1000), 0, 1000, 3.0)
    assert raised.value.done_bytes == 300
    assert clock.now_s() == pytest.approx(103.0)


def test_equal_seeds_give_equal_fates_in_any_order() -> None:
    ranges = [(offset, 1000) for offset in range(0, 100_000, 1000)] * 2
    faults = Faults({Fault.RESET: 0.2, Fault.FLIP: 0.1})

    def draw(order: list[tuple[int, int]], seed: int) -> list[tuple[tuple[int, int], object]]:
        fates = Fates(faults, seed)
        return sorted(((asked, fates.next(*asked)) for asked in order), key=repr)

    shuffled = random.Random(1).sample(ranges, len(ranges))
    assert draw(ranges, 1) == draw(shuffled, 1)
    assert draw(ranges, 1) != draw(ranges, 2)


def test_faults_strike_at_their_rates() -> None:
    fates = Fates(Faults({Fault.RESET: 0.25, Fault.SHORT: 0.25}), seed=5)
    drawn = [fates.next(offset, 64) for offset in range(4000)]
    for fault in (Fault.RESET, Fault.SHORT):
        assert 900 < sum(fate.fault is fault for fate in drawn) < 1100
    assert all(0 <= fate.done_bytes < 64 for fate in drawn)


@pytest.mark.parametrize(
    "rates", [{Fault.RESET: 1.1}, {Fault.RESET: 0.6, Fault.SHORT: 0.6}, {Fault.FLIP: -0.1}]
)
def test_rates_are_shares(rates: dict[Fault, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        Faults(rates)


def test_jitter_delays_by_the_seed() -> None:
    def took_s(seed: int) -> float:
        clock = ManualClock(0.0)
        source = ThrottledSource(
            MemorySource(CONTENT), bandwidth_bytes_s=1e9, latency_s=1.0, jitter_s=0.5, seed=seed, clock=clock
        )
        for offset in range(10):
            read(source, offset, 1)
        return clock.now_s()

    assert took_s(1) == took_s(1) != took_s(2)
    assert 10.0 < took_s(1) < 15.0


def test_a_source_in_use_by_many_serves_each_byte_once_in_time() -> None:
    clock = ManualClock(0.0)
    source = store(clock, latency_s=0.0)
    threads = [threading.Thread(target=read, args=(source, 1000 * n, 1000)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now_s() >= 16.0 - 1e-6
