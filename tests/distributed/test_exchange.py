"""Whatever a channel does to messages and whoever dies: each worker computes from the same bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from glowplug.distributed.errors import FrameVersion, ReplayImpossible
from glowplug.distributed.exchange import ATTEMPTS, Exchange
from glowplug.distributed.frame import Kind
from glowplug.distributed.start import Place
from tests.depth import examples
from tests.distributed.world import Plan, World, outcome, random_plan

ROWS = Plan({0: {0: (), 1: (1,), 2: (1,)}, 1: {0: (), 1: (0,), 2: (0,)}}, (0, 1, 2))


class Machine(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 10**6), workers=st.integers(1, 3), steps=st.integers(1, 6),
                replays=st.booleans(), keep=st.booleans())  # fmt: skip
    def begin(self, seed: int, workers: int, steps: int, replays: bool, keep: bool) -> None:
        # Who keeps nothing trusts a channel that gives again; nothing else is promised to work.
        self.plan = random_plan(random.Random(seed), workers, steps)
        self.world = World(self.plan, replays=replays or not keep, keep=keep)

    @rule(pick=st.integers(0, 100), damage=st.booleans(), repeat=st.booleans())
    @precondition(lambda self: self.world.flying)
    def arrive(self, pick: int, damage: bool, repeat: bool) -> None:
        self.world.arrive(pick % len(self.world.flying), damage=damage, repeat=repeat)

    @rule()
    def arrive_all(self) -> None:
        while self.world.flying:
            self.world.arrive(0)

    @rule(pick=st.integers(0, 100))
    @precondition(lambda self: self.world.flying and self.world.keep)
    def lose(self, pick: int) -> None:
        del self.world.flying[pick % len(self.world.flying)]

    @rule(pick=st.integers(0, 2))
    def advance(self, pick: int) -> None:
        self.world.guarded(self.world.workers[pick % len(self.world.workers)].advance)

    @rule(pick=st.integers(0, 2))
    def ask_again(self, pick: int) -> None:
        self.world.guarded(self.world.workers[pick % len(self.world.workers)].ask_again)

    @rule(pick=st.integers(0, 2))
    def ask_overtaken(self, pick: int) -> None:
        self.world.guarded(self.world.workers[pick % len(self.world.workers)].ask_overtaken)

    @rule(pick=st.integers(0, 2), sure=st.sampled_from([False, False, True]))
    def kill(self, pick: int, sure: bool) -> None:
        if sure:
            self.world.kill(pick % len(self.world.workers))

    @invariant()
    def is_whole(self) -> None:
        if hasattr(self, "world"):
            self.world.validate()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.finish()
            found = {number: worker.value for number, worker in self.world.workers.items()}
            assert found == outcome(self.plan)


Machine.TestCase.settings = settings(
    max_examples=examples(40), stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestExchange = Machine.TestCase


def exchange(worker: int = 0, **options: object) -> Exchange:
    plan = ROWS
    given = {"limit_bytes": 1000, **options}
    place = Place("run", worker, incarnation=int(given.pop("incarnation", 0)))  # type: ignore[call-overload]
    return Exchange(place, plan.sources[worker], plan.targets(worker), **given)  # type: ignore[arg-type]


def test_a_payload_is_kept_until_its_target_is_done() -> None:
    sender, receiver = exchange(0), exchange(1)
    receiver.deliver(dict(sender.send(1, 1, Kind.BYTES, b"x" * 50)))
    assert sender.kept_bytes == 50
    sender.deliver(dict(receiver.done(2)))
    assert sender.kept_bytes == 0
    assert sender.send(1, 1, Kind.BYTES, b"y") == [], "what nobody needs any more is not sent"


def test_damage_is_asked_for_again_under_another_key() -> None:
    sender, receiver = exchange(0), exchange(1)
    ((key, message),) = sender.send(1, 1, Kind.BYTES, b"payload")
    request = receiver.deliver({key: message[:-1] + b"?"})
    ((again, same),) = sender.deliver(dict(request))
    assert again.epoch == key.epoch + 1
    receiver.deliver({again: same})
    assert bytes(receiver.take(1)[0].body) == b"payload"
    assert (receiver.damaged, sender.sent_again) == (1, 1)


def test_a_damaged_version_is_damage_and_a_whole_frame_of_another_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender, receiver = exchange(0), exchange(1, keep=False)
    ((key, message),) = sender.send(1, 1, Kind.BYTES, b"payload")
    with pytest.raises(ReplayImpossible):
        receiver.deliver({key: message[:2] + b"\x09" + message[3:]})
    monkeypatch.setattr("glowplug.distributed.frame.VERSION", 9)
    ((key, message),) = sender.send(1, 1, Kind.BYTES, b"payload")
    monkeypatch.undo()
    with pytest.raises(FrameVersion, match="version 9"):
        exchange(1, keep=False).deliver({key: message})


def test_what_can_be_read_again_is_before_it_is_asked_for() -> None:
    sender, receiver = exchange(0), exchange(1, looks_are_calls=True)
    ((key, message),) = sender.send(1, 1, Kind.BYTES, b"payload")
    assert receiver.deliver({key: message[:-1] + b"?"}) == []
    assert receiver.take_rejected() == [key]
    assert receiver.deliver({key: message[:-1] + b"?"}) != []
    assert receiver.take_rejected() == [], "it would be the same again"


def test_who_took_over_says_what_it_never_had() -> None:
    late, asking = exchange(0, first=2, incarnation=1), exchange(1)
    request = asking.ask_again(1)
    with pytest.raises(ReplayImpossible, match="worker 1 needs step 1 of worker 0"):
        asking.deliver(dict(late.deliver(dict(request))))


def test_a_source_that_went_on_is_asked_at_once_and_once() -> None:
    sender, receiver = exchange(0), exchange(1)
    lost = dict(sender.send(1, 1, Kind.BYTES, b"lost"))
    following = dict(sender.send(2, 1, Kind.BYTES, b"following"))
    assert receiver.ask_overtaken(1) == []
    assert following.keys() <= receiver.wanted_ahead(1)
    receiver.deliver(following)
    request = receiver.ask_overtaken(1)
    assert receiver.ask_overtaken(1) == []
    ((again, message),) = sender.deliver(dict(request))
    assert message != lost
    receiver.deliver({again: message})
    assert [bytes(receiver.take(step)[0].body) for step in (1, 2)] == [b"lost", b"following"]


def test_a_source_that_left_it_out_is_asked_once_and_is_not_looked_at_further() -> None:
    sender, receiver = exchange(0), exchange(1, looks_are_calls=True)
    sender.send(1, 1, Kind.BYTES, b"lost")
    assert receiver.ask_overtaken(1) == []
    assert receiver.wanted_ahead(1) != set()
    assert receiver.wanted_ahead(1, [0]) == set()
    request = receiver.ask_overtaken(1, [0])
    assert receiver.ask_overtaken(1, [0]) == []
    assert receiver.wanted_ahead(1) == set(), "that its source went on tells nothing new"
    receiver.deliver(dict(sender.deliver(dict(request))))
    assert bytes(receiver.take(1)[0].body) == b"lost"


def test_who_stalls_finds_what_comes_after_many_lost_notes() -> None:
    asking, asked = exchange(1), exchange(0)
    asked.send(1, 1, Kind.BYTES, b"kept")
    for stalls in range(1, 9):
        lost = dict(asking.ask_again(1))  # a poll of a worker that is gone took it
        assert len(lost) == 1
        heard = dict(asking.ask_again(1))
        assert heard.keys() <= asked.wanted_notes([1], 2 * stalls)
    assert not heard.keys() <= asked.wanted_notes([1])
    ((key, message),) = asked.deliver(heard)
    asking.deliver({key: message})
    assert bytes(asking.take(1)[0].body) == b"kept"


def test_where_a_look_costs_a_call_few_notes_are_looked_for() -> None:
    """The next note of a partner; with each stall one more, and the first of one more who may take over."""
    asking, asked = exchange(1), exchange(0, looks_are_calls=True)
    heard = dict(asking.ask_again(1))
    assert heard.keys() == asked.wanted_notes([1])
    asked.deliver(heard)
    late = dict(exchange(1, incarnation=1).ask_again(1))
    assert not late.keys() <= asked.wanted_notes([1])
    assert late.keys() <= asked.wanted_notes([1], 1)
    assert len(asked.wanted_notes([1], 1)) == 4


def test_who_takes_over_finds_what_its_predecessor_asked_for() -> None:
    """Where the channel gives again what was sent, an answer is in it as well: nobody is asked twice."""
    sender, lost = exchange(0), exchange(1, replays=True)
    sender.send(1, 1, Kind.BYTES, b"payload")
    answer = dict(sender.deliver(dict(lost.ask_again(1))))
    successor = exchange(1, replays=True, incarnation=1)
    assert not answer.keys() <= successor.wanted(1), "in a replay most messages are there as they were sent"
    assert answer.keys() <= successor.wanted_ahead(1)
    assert answer.keys() <= successor.wanted_answers(1, [0])
    assert exchange(1, incarnation=1).wanted_answers(1, [0]) == set()
    assert not answer.keys() <= exchange(1, incarnation=1).wanted_ahead(1)
    assert successor.deliver(answer) == []
    assert bytes(successor.take(1)[0].body) == b"payload"


def test_an_answer_to_a_predecessor_that_is_damaged_is_asked_for_anew() -> None:
    sender, lost = exchange(0), exchange(1, replays=True)
    sender.send(1, 1, Kind.BYTES, b"payload")
    ((key, message),) = sender.deliver(dict(lost.ask_again(1)))
    successor = exchange(1, replays=True, incarnation=1)
    request = successor.deliver({key: message[:-1] + b"?"})
    ((again, same),) = sender.deliver(dict(request))
    assert again.epoch == key.epoch + 1
    successor.deliver({again: same})
    assert bytes(successor.take(1)[0].body) == b"payload"


def test_an_earlier_epoch_is_not_heard() -> None:
    sender = exchange(0)
    receiver = Exchange(Place("run", 1, epoch=1), ROWS.sources[1], ROWS.targets(1), limit_bytes=1000)
    receiver.deliver(dict(sender.send(1, 1, Kind.BYTES, b"late")))
    assert receiver.missing(1) == [0]


def test_without_keeping_damage_cannot_be_mended() -> None:
    sender, receiver = exchange(0, keep=False), exchange(1, keep=False)
    ((key, message),) = sender.send(1, 1, Kind.BYTES, b"payload")
    assert (sender.kept_bytes, receiver.ask_again(1)) == (0, [])
    with pytest.raises(ReplayImpossible):
        receiver.deliver({key: message[:-1] + b"?"})


def test_attempts_end() -> None:
    receiver = exchange(1)
    for _ in range(ATTEMPTS - 1):
        receiver.ask_again(1)
    with pytest.raises(ReplayImpossible, match="asked 255 times"):
        receiver.ask_again(1)


def test_what_is_next_is_found_without_a_look_at_what_was_taken() -> None:
    """However many steps there were."""
    looked_at: set[int] = set()

    class Step(int):
        def __lt__(self, other: int) -> bool:
            looked_at.add(int(self))
            return int(self) < int(other)

        def __ge__(self, other: int) -> bool:
            return not self < other

        __hash__ = int.__hash__

    many, target = 1024, Place("run", 1)
    sender = Exchange(Place("run", 0), {}, dict.fromkeys(range(many), (1,)), limit_bytes=1000)
    receiver = Exchange(target, {Step(step): (0,) for step in range(many)}, {}, limit_bytes=1000)
    for step in range(many - 5):
        receiver.deliver(dict(sender.send(step, 1, Kind.BYTES, b"")))
        receiver.take(step)
    looked_at.clear()
    assert receiver.coming() == many - 5
    assert len(looked_at) < 20
