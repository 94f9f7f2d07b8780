"""Reads go on where they stopped, as often and as long as they may, and tell what happened after that."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.loader.errors import (
    RangeRefused,
    ReadDeadline,
    SourceChanged,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)  # fmt: skip
from glowplug.loader.sources import resuming as resuming_module
from glowplug.loader.sources.base import Advice, WeightSource
from glowplug.loader.sources.faults import Fault, Faults
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.sources.resuming import ResumingSource, open_resuming
from glowplug.loader.sources.retrying import Retry
from glowplug.loader.sources.throttled import ThrottledSource
from glowplug.testing.source_suite import CONTENT, read
from tests.depth import examples
from tests.loader.sources.clock import ManualClock


class Unsteady:
    """Memory whose n-th read fails with the n-th of `errors`, after the bytes that the error tells."""

    advice = Advice(parallel=1, read_bytes=1000)
    name = "store"
    size = len(CONTENT)

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked: list[tuple[int, int]] = []

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        self.asked.append((offset, length))
        inner = MemorySource(CONTENT, "store")
        if not self.errors:
            return inner.read_into(buffer, offset, length)
        error = self.errors.pop(0)
        inner.read_into(buffer, offset, getattr(error, "done_bytes", 0))
        raise error

    def close(self) -> None:
        pass


class Slow:
    """Memory behind a line of so many bytes a second; what does not come in time comes not at all."""

    advice = Advice(parallel=1, read_bytes=1000)
    name = "store"
    size = len(CONTENT)

    def __init__(self, clock: ManualClock, bytes_per_s: float) -> None:
        self.clock, self.bytes_per_s = clock, bytes_per_s

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        raise AssertionError("it is read within bounds")

    def read_within(self, buffer: bytearray | memoryview, offset: int, length: int, within_s: float) -> None:
        takes_s = length / self.bytes_per_s
        self.clock.wait_until(self.clock.now_s() + min(takes_s, within_s))
        if takes_s > within_s:
            raise ReadDeadline(f"{length} bytes took more than {within_s} s")
        MemorySource(CONTENT, "store").read_into(buffer, offset, length)

    def close(self) -> None:
        pass


def test_a_line_that_is_too_slow_for_a_read_brings_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming_module, "_LEAST_BYTES", 100)
    clock = ManualClock()
    source = resuming(Slow(clock, len(CONTENT) / 35), clock, attempt_s=20.0, deadline_s=70.0)
    assert read(source, 0, len(CONTENT)) == CONTENT
    slower = resuming(Slow(clock, 1.0), clock, attempt_s=20.0, deadline_s=70.0)
    with pytest.raises(ReadDeadline, match="no time is left"):
        read(slower, 0, len(CONTENT))


def resuming(inner: WeightSource, clock: ManualClock, **retry: float) -> ResumingSource:
    settings = {"pause_s": 1.0, "longest_pause_s": 8.0, "deadline_s": 1000.0, "attempt_s": 100.0} | retry
    return ResumingSource(inner, Retry(**settings), clock=clock, rng=random.Random(0))  # type: ignore[arg-type]


def test_it_goes_on_where_it_stopped_or_from_the_beginning() -> None:
    inner = Unsteady(
        SourceUnavailable("broke", done_bytes=300),
        ConnectionResetError("no word of how much"),
        ReadDeadline("slow", done_bytes=200),
    )
    assert read(resuming(inner, ManualClock()), 1000, 1000) == CONTENT[1000:2000]
    assert inner.asked == [(1000, 1000), (1300, 700), (1300, 700), (1500, 500)]


@pytest.mark.parametrize(
    "kind", [SourceRefused, SourceMissing, SourceChanged, RangeRefused, SourceError, OSError]
)
def test_what_will_not_pass_is_raised_at_once(kind: type[Exception]) -> None:
    inner, clock = Unsteady(kind("as it is")), ManualClock(100.0)
    with pytest.raises(kind, match="as it is"):
        read(resuming(inner, clock), 0, 10)
    assert len(inner.asked) == 1
    assert clock.now_s() == 100.0


def test_attempts_are_bounded_and_the_error_tells_all() -> None:
    inner = Unsteady(*[SourceUnavailable(f"failure {number}") for number in range(9)])
    with pytest.raises(SourceUnavailable) as raised:
        read(resuming(inner, ManualClock(), attempts=4), 1000, 20)
    assert str(raised.value) == (
        "store: reading 20 bytes at 1000 failed 4 times, last with: failure 3; "
        "see that the store can be reached, or allow more by retry=loader.Retry(attempts=...)"
    )
    assert str(raised.value.__cause__) == "failure 3"
    assert len(inner.asked) == 4


def test_pauses_grow_with_jitter_up_to_the_longest() -> None:
    clock = ManualClock(0.0)
    starts: list[float] = []

    class Timed(Unsteady):
        def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
            starts.append(clock.now_s())
            super().read_into(buffer, offset, length)

    inner = Timed(*[SourceUnavailable("broke")] * 6)
    read(resuming(inner, clock, attempts=7), 0, 10)
    pauses = [after - before for before, after in itertools.pairwise(starts)]
    for pause, longest in zip(pauses, [1, 2, 4, 8, 8, 8], strict=True):
        assert longest / 2 <= pause <= longest
    assert len(set(pauses)) == 6


def test_a_store_that_asks_for_time_gets_it() -> None:
    clock = ManualClock(0.0)
    read(resuming(Unsteady(SourceUnavailable("503", retry_after_s=30.0)), clock), 0, 10)
    assert clock.now_s() == 30.0


def test_no_pause_goes_past_the_deadline() -> None:
    clock = ManualClock(0.0)
    inner = Unsteady(SourceUnavailable("503", retry_after_s=30.0))
    with pytest.raises(ReadDeadline, match="failed once, last with: 503; no time is left of 20 s"):
        read(resuming(inner, clock, deadline_s=20.0), 0, 10)
    assert clock.now_s() == 0.0


def test_a_stalled_read_is_given_up_and_read_on() -> None:
    clock = ManualClock(0.0)
    store = ThrottledSource(
        MemorySource(CONTENT),
        bandwidth_bytes_s=1000,
        faults=Faults(at={500: Fault.STALL}),
        stall_s=1e9,
        clock=clock,
    )
    assert read(resuming(store, clock, attempt_s=5.0), 0, 1000) == CONTENT[:1000]
    assert 6.0 <= clock.now_s() <= 6.5


def test_the_deadline_ends_a_read_that_only_stalls() -> None:
    clock = ManualClock(0.0)
    store = ThrottledSource(
        MemorySource(CONTENT),
        bandwidth_bytes_s=1000,
        faults=Faults({Fault.STALL: 1.0}),
        stall_s=1e9,
        clock=clock,
    )
    with pytest.raises(ReadDeadline, match="reading 1000 bytes at 0 failed"):
        read(resuming(store, clock, attempt_s=5.0, deadline_s=60.0, attempts=1000), 0, 1000)
    assert clock.now_s() <= 60.0


def test_opening_is_tried_again_too() -> None:
    clock = ManualClock()
    errors: list[Exception] = [SourceUnavailable("booting"), ConnectionRefusedError("down")]

    def opener(within_s: float) -> WeightSource:
        assert within_s == 10.0
        if errors:
            raise errors.pop()
        return MemorySource(CONTENT)

    source = open_resuming("store", opener, Retry(attempt_s=10.0), clock=clock, rng=random.Random(0))
    assert read(source, 0, 10) == CONTENT[:10]
    errors = [SourceMissing("gone")]
    with pytest.raises(SourceMissing, match="gone"):
        open_resuming("store", opener, Retry(attempt_s=10.0), clock=clock)


def test_a_store_may_be_asked_for_as_long_as_one_likes() -> None:
    """A pause that doubles is no number any more after a thousand."""
    inner = Unsteady(*(SourceUnavailable("booting") for _ in range(1100)))
    source = resuming(inner, ManualClock(), attempts=1200, deadline_s=1e6)
    assert read(source, 0, 10) == CONTENT[:10]


def test_no_attempts_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        Retry(attempts=0)


@pytest.mark.parametrize("field", ["deadline_s", "attempt_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_no_time_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} must be above zero"):
        Retry(**{field: value})  # type: ignore[arg-type]


SURVIVABLE = [Fault.RESET, Fault.SHORT, Fault.STALL, Fault.LONG, Fault.BROKEN]
FINAL = {Fault.FORBIDDEN: SourceRefused, Fault.MISSING: SourceMissing, Fault.UNSATISFIABLE: RangeRefused}


@settings(max_examples=examples(300), deadline=None)
@given(
    rates=st.dictionaries(st.sampled_from(SURVIVABLE + list(FINAL)), st.floats(0, 0.12), max_size=8),
    seed=st.integers(0, 2**32),
    offset=st.integers(0, len(CONTENT) - 1),
    length=st.integers(0, 60_000),
    attempts=st.integers(1, 12),
    deadline_s=st.floats(0.1, 60),
    stall_s=st.floats(0.1, 30),
)
def test_whatever_happens_the_bytes_are_right_or_an_error_says_so_in_time(
    rates: dict[Fault, float],
    seed: int,
    offset: int,
    length: int,
    attempts: int,
    deadline_s: float,
    stall_s: float,
) -> None:
    clock = ManualClock(0.0)
    length = min(length, len(CONTENT) - offset)
    store = ThrottledSource(
        MemorySource(CONTENT, "store"),
        bandwidth_bytes_s=20_000,
        latency_s=0.1,
        jitter_s=0.2,
        faults=Faults(rates),
        stall_s=stall_s,
        seed=seed,
        clock=clock,
    )
    source = resuming(store, clock, attempts=attempts, deadline_s=deadline_s, attempt_s=10.0)
    buffer = bytearray(b"\xa5" * (length + 100))
    failure: SourceError | None = None
    try:
        source.read_into(buffer, offset, length)
    except SourceError as error:
        failure = error
    if failure is None:
        assert buffer[:length] == CONTENT[offset : offset + length]
    elif type(failure) in (SourceUnavailable, ReadDeadline):
        assert f"reading {length} bytes at {offset} failed" in str(failure)
    else:
        assert type(failure) in {FINAL[fault] for fault in rates if fault in FINAL}
    assert buffer[length:] == b"\xa5" * 100
    assert clock.now_s() <= deadline_s + 1e-9


def test_flipped_bits_are_nobodys_business_here() -> None:
    store = ThrottledSource(
        MemorySource(CONTENT), bandwidth_bytes_s=1e6, faults=Faults(at={10: Fault.FLIP}), clock=ManualClock()
    )
    arrived = read(resuming(store, ManualClock()), 0, 100)
    assert sum(one != other for one, other in zip(arrived, CONTENT[:100], strict=True)) == 1
