"""The channel that disturbs does what it says, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from glowplug.distributed.channels.base import Channel, MessageKey
from glowplug.distributed.channels.memory import MemoryRoom
from glowplug.distributed.faults import Faults, FaultyChannel, Kill, disturbed, end_here
from glowplug.distributed.start import Place

RUN = "disturbed"


@pytest.fixture
def ends() -> Iterator[list[Channel]]:
    with MemoryRoom().open(RUN, 2) as room:
        yield [room.end(0), room.end(1)]


def keys(many: int) -> list[MessageKey]:
    return [MessageKey(RUN, 0, layer, 0, 1) for layer in range(many)]


def sent(ends: list[Channel], faults: Faults, many: int = 200) -> dict[MessageKey, bytes]:
    """What comes of so many messages before the sender's end is closed."""
    sender = FaultyChannel(ends[0], faults, Place(RUN, 0))
    for key in keys(many):
        sender.send([(key, b"message")])
    return ends[1].receive(keys(many), 0.0)


def test_some_are_lost(ends: list[Channel]) -> None:
    assert 100 < len(sent(ends, Faults(drop=0.25))) < 190


def test_some_are_damaged_by_a_bit(ends: list[Channel]) -> None:
    found = list(sent(ends, Faults(corrupt=0.25)).values())
    assert len(found) == 200
    assert 20 < sum(message != b"message" for message in found) < 90
    bits = {
        sum((one ^ other).bit_count() for one, other in zip(message, b"message", strict=True))
        for message in found
    }
    assert bits == {0, 1}


def test_the_same_seed_gives_the_same() -> None:
    runs = []
    for _ in range(2):
        with MemoryRoom().open(RUN, 2) as room:
            runs.append(sent([room.end(0), room.end(1)], Faults(seed=7, drop=0.5), 50).keys())
    assert runs[0] == runs[1]


def test_what_is_held_back_comes_all_the_same(ends: list[Channel]) -> None:
    sender = FaultyChannel(ends[0], Faults(late=0.5, delay=0.5, delay_s=1000), Place(RUN, 0))
    sender.send([(key, b"message") for key in keys(20)])
    before = ends[1].receive(keys(20), 0.0)
    sender.close()
    after = ends[1].receive(keys(20), 0.0)
    assert before.keys() | after.keys() == set(keys(20))
    assert after


class Waiting:
    """An end to which nothing comes: who waits there lets time go by."""

    def __init__(self, inner: Channel) -> None:
        self.worker, self.limits, self.meter = inner.worker, inner.limits, inner.meter
        self.now_s = 0.0
        self.sent_s: list[float] = []

    def send(self, messages: object) -> None:
        self.sent_s.append(self.now_s)

    def receive(self, wanted: object, timeout_s: float) -> dict[MessageKey, bytes]:
        self.now_s += timeout_s
        return {}

    def left_out(self, wanted: object) -> set[MessageKey]:
        return set()


def test_what_is_delayed_goes_on_when_it_is_due(ends: list[Channel]) -> None:
    waiting = Waiting(ends[0])
    faults = Faults(delay=1.0)
    end = FaultyChannel(waiting, faults, Place(RUN, 0), lambda: waiting.now_s)  # type: ignore[arg-type]
    end.send([(key, b"message") for key in keys(20)])
    due_s = sorted(each[0] for each in end._delayed)
    assert end.receive([], 1.0) == {}
    assert len(waiting.sent_s) > 10
    assert max(abs(sent - min(due_s, key=lambda due: abs(due - sent))) for sent in waiting.sent_s) < 0.002


def test_without_faults_nothing_is_in_between(ends: list[Channel]) -> None:
    assert disturbed(ends[0], Faults(kills=(Kill(0, 3),)), Place(RUN, 0)) is ends[0]


def test_others_are_not_killed() -> None:
    faults = Faults(kills=(Kill(1, 5, epoch=2, incarnation=1),))
    for place in (Place(RUN, 0, 2, 1), Place(RUN, 1, 1, 1), Place(RUN, 1, 2, 0)):
        end_here(faults, place, 9)
    end_here(faults, Place(RUN, 1, 2, 1), 4)
