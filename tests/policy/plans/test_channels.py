"""What a channel's calls are counted from: cases by hand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.channels import numbered
from glowplug.policy.plans.channels.nats import NatsCalls
from glowplug.policy.plans.channels.objects import ObjectCalls
from glowplug.policy.plans.channels.queue import QueueCalls, enveloped
from glowplug.policy.plans.channels.receiving import AllAtOnce, Arrivals, Asking, Polling
from glowplug.policy.plans.channels.shared_memory import SharedMemoryCalls
from glowplug.policy.plans.model import DELAYS, Delays
from glowplug.policy.plans.spread import Cut, Spread, transfers

DELAY = DELAYS["hop-100ms"]


def spread(entries: list[tuple[int, int, int, float]], workers: int = 30, steps: int = 3) -> Spread:
    """From (step, source, target, bytes)."""
    columns = [list(column) for column in zip(*entries, strict=True)]
    many = len(entries)
    rest = [[1] * many, [0.0] * many, [0.0] * many]
    return Spread(
        "made-up", workers, Cut(), 1, (), np.zeros((steps, workers)), np.zeros((steps, workers)),
        transfers([*columns[:3], *rest, columns[3]]),
    )  # fmt: skip


def test_small_messages_share_publishes_whatever_their_targets() -> None:
    found = QueueCalls().exchange(spread([(0, 0, target, 100.0) for target in range(1, 26)]), DELAY)
    body = 100 + 32 + 18 + 8 + 9
    assert found.usage == Usage(publishes=3, published_bytes=25 * body, queue_calls=122)
    assert found.calls == 3
    assert found.nbytes == 25 * body


def test_large_messages_go_straight_and_are_billed_by_units() -> None:
    found = QueueCalls().exchange(
        spread([(0, 0, 1, 5_000.0), (0, 0, 2, 100_000.0), (0, 0, 3, 600_000.0)]), DELAY
    )
    assert found.messages.tolist() == [1, 1, 3]
    assert found.calls == 5
    sent = 1 + 2 + 10  # units of 64 KiB
    assert found.usage == Usage(queue_calls=sent + 122)


def test_what_shares_a_publish_is_there_together_and_what_goes_straight_after_it() -> None:
    targets = [(0, 0, target, 5_000.0 if target == 3 else 100.0) for target in range(1, 14)]
    found = QueueCalls().exchange(spread([*targets, (0, 1, 0, 100.0)]), DELAY)
    body = 100 + 32 + 18 + 8 + 9
    late = (found.there_s - DELAY.hop_s) * DELAY.bytes_per_s
    small = [*range(2), *range(3, 13)]
    assert late[small] == pytest.approx([10 * body] * 10 + [12 * body] * 2)
    straight = 12 * body + 5_000 + 32 + 18 + 8
    assert late[2] == pytest.approx(straight + DELAY.publish_s * DELAY.bytes_per_s)
    assert late[13] == pytest.approx(body)


def test_polls_are_billed_by_what_they_bring() -> None:
    large = msgspec.structs.replace(arrivals([1.0, 1.0]), nbytes=np.array([100_000.0, 500_000.0]))
    for there_s, brought in (([1.0, 1.0], [600_000]), ([1.0, 9.0], [300_000, 300_000])):
        polls = Polling(1, 1, Delays(name="x", hop_s=0, poll_s=0.2), most=10)
        polls.take(np.zeros((1, 1)), msgspec.structs.replace(large, there_s=np.array([there_s])))
        assert polls.calls.tolist() == [len(brought)]
        assert polls.units.tolist() == [sum(-(-nbytes // 65_536) for nbytes in brought)]
    alone = msgspec.structs.replace(arrivals([1.0], messages=4.0), nbytes=np.array([800_000.0]))
    polls = Polling(1, 1, Delays(name="x", hop_s=0, poll_s=0.2), most=10)
    polls.take_one(np.array([[2.0]]), alone)
    assert (polls.calls.tolist(), polls.units.tolist()) == ([1], [13])


def test_a_payload_is_chunked_at_the_limit() -> None:
    room = 256 * 1024 - 8 - 9 - 18 - 32
    messages, bodies = enveloped(np.array([0.0, 1.0, room, room + 1]))
    assert messages.tolist() == [1, 1, 1, 2]
    assert bodies.tolist() == [50, 51, room + 50, room + 1 + 100]


def test_one_object_for_each_step_and_sender() -> None:
    found = ObjectCalls().exchange(
        spread([(0, 0, target, 1000.0) for target in (1, 2, 3)] + [(1, 2, 1, 500_000.0)]), DELAY
    )
    assert found.usage == Usage(puts=3, gets=30, lists=1)
    assert found.messages.tolist() == [1, 1, 1, 2]
    assert found.nbytes == 3 * 1048 + 12 + 500_048 + 12


def test_a_broker_and_shared_memory_bill_no_calls() -> None:
    for channel in (NatsCalls(), SharedMemoryCalls()):
        found = channel.exchange(spread([(0, 0, 1, 3e6)]), DELAY)
        assert found.usage + found.receive_usage == Usage()
        assert found.nbytes > 3e6


def test_transfers_are_numbered_within_their_sender_s_step() -> None:
    made = spread(
        [(0, 0, 1, 1.0), (0, 0, 2, 1.0), (0, 1, 0, 1.0), (1, 0, 1, 1.0), (1, 0, 2, 1.0), (1, 0, 3, 1.0)]
    )
    assert numbered(made, np.ones(6)).tolist() == [0, 1, 0, 0, 1, 2]
    assert numbered(made, np.array([5.0, 1, 1, 2, 3, 4])).tolist() == [0, 5, 0, 0, 2, 5]


def arrivals(there_s: list[float], target: int = 0, messages: float = 1.0) -> Arrivals:
    many = len(there_s)
    return Arrivals(
        np.full(many, target, np.int32), np.arange(1, many + 1, dtype=np.int32), np.full(many, messages),
        np.zeros(many), np.array([there_s]),
    )  # fmt: skip


def test_a_poll_takes_what_is_there_and_waits_for_the_first() -> None:
    polls = Polling(1, 2, Delays(name="x", hop_s=0, poll_s=0.2), most=10)
    now = polls.take(np.zeros((1, 2)), arrivals([1.0, 1.0, 1.05, 3.0]))
    # The first is back at 1.1 with two; the second, asked at 1.2, brings the third; the last waits.
    assert polls.calls.tolist() == [3]
    assert now.tolist() == [[pytest.approx(3.1), 0.0]]


def test_messages_gather_for_as_long_as_the_last_took_in_the_two_steps_before() -> None:
    """The sooner of both: that the last was late once is not waited for."""
    polls = Polling(1, 1, Delays(name="x", hop_s=0, poll_s=0.2), most=10)
    polls.take(np.zeros((1, 1)), arrivals([1.0, 1.05, 2.0]))
    assert polls.calls.tolist() == [3]
    polls.take(np.full((1, 1), 10.0), arrivals([11.0, 11.05, 17.0]))
    assert polls.calls.tolist() == [6]
    now = polls.take(np.full((1, 1), 20.0), arrivals([21.0, 21.05, 21.7]))
    assert polls.calls.tolist() == [7]
    assert now.tolist() == [[pytest.approx(20 + 0.8 * 2.1 + 0.2)]]


def test_what_came_with_the_polls_of_the_step_before_is_not_waited_for() -> None:
    polls = Polling(1, 1, Delays(name="x", hop_s=0, poll_s=0.2), most=10)
    polls.take(np.full((1, 1), -10.0), arrivals([-9.0, -8.0]))
    now = polls.take(np.zeros((1, 1)), arrivals([1.0, 2.0]))
    assert (polls.calls.tolist(), now.tolist()) == ([4], [[pytest.approx(2.1)]])
    # There when the last poll was answered at the service, at 2.
    now = polls.take(np.full((1, 1), 2.5), arrivals([1.5, 2.0]))
    assert (polls.calls.tolist(), now.tolist()) == ([4], [[2.5]])
    now = polls.take(np.full((1, 1), 3.0), arrivals([2.6]))
    assert (polls.calls.tolist(), now.tolist()) == ([5], [[pytest.approx(3.2)]]), "one gathers nothing"
    now = polls.take(np.full((1, 1), 4.0), arrivals([3.6, 3.7]))
    assert (polls.calls.tolist(), now.tolist()) == ([6], [[pytest.approx(4 + 0.8 * 2.1 + 0.2)]])


def test_twenty_five_that_are_there_take_three_polls_at_once() -> None:
    polls = Polling(1, 1, Delays(name="x", hop_s=0, poll_s=0.2), most=10)
    now = polls.take(np.full((1, 1), 5.0), arrivals([1.0] * 25))
    assert polls.calls.tolist() == [3]
    assert now.tolist() == [[pytest.approx(5.2)]]


def test_an_object_is_asked_for_again_until_it_is_there() -> None:
    asking = Asking(1, 5, Delays(name="x", hop_s=0, get_s=0.02))
    now = asking.take(np.zeros((1, 5)), arrivals([0.05]))
    # Asked at 0 (looked at 0.01), 0.03 and 0.066: there at the third.
    assert asking.calls.tolist() == [3]
    assert now[0, 0] == pytest.approx(0.086)
    asking.take(np.full((1, 5), 1.0), arrivals([1.05]))
    assert asking.calls.tolist() == [6], "who was late once may be in time"
    later = asking.take(np.full((1, 5), 2.0), arrivals([2.05]))
    # First asked 0.03 after it was waited for, when it was missing in both layers before.
    assert asking.calls.tolist() == [8]
    assert later[0, 0] == pytest.approx(2.08)


def test_what_is_pushed_comes_in_a_call() -> None:
    pushed = AllAtOnce(2, 0.5, 1e9)
    there = msgspec.structs.replace(arrivals([1.0, 2.0]), there_s=np.array([[1.0, 2.0], [3.0, 1.0]]))
    assert pushed.take(np.zeros((2, 1)), there)[:, 0].tolist() == [2.5, 3.5]
    assert pushed.calls.tolist() == [0, 0]
