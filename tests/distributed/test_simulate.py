"""Virtual time over the channels' own code, and what the planner predicts of it."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest

from glowplug.distributed.channels import layer_object, messaging, pace, patience, reach
from glowplug.distributed.channels import queue as queue_room
from glowplug.distributed.channels.envelope import RECORD_BYTES
from glowplug.distributed.channels.meter import UNIT_BYTES
from glowplug.distributed.frame import HEADER_BYTES
from glowplug.distributed.simulate import ROOMS, SimulatedRun, simulate
from glowplug.policy.plans import billing
from glowplug.policy.plans.channels import FRAME_BYTES, objects, queue
from glowplug.policy.plans.channels.receiving import Asking, Polling
from glowplug.policy.plans.chooser import CHANNELS
from glowplug.policy.plans.critical_path import timings
from glowplug.policy.plans.facts import Problem, WorkloadFacts
from glowplug.policy.plans.model import DELAYS, CodecCost
from glowplug.policy.plans.pipeline import ceiling, staged
from glowplug.policy.plans.relay import relayed
from glowplug.policy.plans.rows import by_rows
from glowplug.policy.plans.spread import Spread
from glowplug.policy.registry import policy_class
from tests.policy.plans.problems import MACHINE, partition, problem, workload

DELAY = DELAYS["hop-100ms"]


def asked(found: SimulatedRun) -> int:
    meter = found.meter
    return meter.publishes + meter.queue_sends + meter.polls + meter.puts + meter.gets + meter.lists


def sent(found: SimulatedRun) -> int:
    return found.meter.publish_bytes + found.meter.queue_send_bytes + found.meter.put_bytes


def through_root(spread: Spread) -> Spread:
    found = relayed(spread)
    assert found is not None
    return found


def _over(facts: WorkloadFacts, workers: int) -> Spread:
    cut = partition(facts, workers)
    return by_rows(Problem(facts, MACHINE, {workers: cut}), cut)


@cache
def spreads() -> dict[str, Spread]:
    given = problem(layers=20, rows=256, samples=4000)
    heavy = problem(layers=20, rows=256, samples=400_000)
    larger = problem(layers=20, rows=256, samples=4_000_000)
    wide = problem(layers=20, rows=256, samples=4000, workers=(20,))
    heavy_wide = workload(20, 256, 10_000, edges=1_500_000)
    return {
        "rows": by_rows(given, given.partitions[8]),
        "heavy rows": by_rows(heavy, heavy.partitions[8]),
        "rows above a message": by_rows(larger, larger.partitions[8]),
        "relayed rows": through_root(by_rows(wide, wide.partitions[20])),
        "heavy relayed rows": through_root(_over(heavy_wide, 20)),
        "pipeline": staged(given, 4, 16),
        "heavy pipeline": staged(problem(layers=64, rows=256, samples=400_000), 8, 16),
        "replicas": policy_class("plans", "replicas")().spreads(given, 8)[0],
        "hybrid": policy_class("plans", "hybrid")().spreads(given, 8)[0],
    }


def test_the_planner_counts_by_the_numbers_of_the_channels() -> None:
    binary = messaging.Entry(42, b"xyz")
    assert binary.queue_bytes - 3 == queue.QUEUE_BYTES
    assert binary.topic_bytes - binary.queue_bytes == queue.TARGET_BYTES
    assert (queue.MESSAGE_BYTES, queue.CALL_MESSAGES) == (messaging.MOST_BYTES, messaging.MOST_MESSAGES)
    assert queue.STRAIGHT_ABOVE_BYTES == queue_room.STRAIGHT_ABOVE_BYTES
    assert queue.RECORD_BYTES == RECORD_BYTES
    assert FRAME_BYTES == HEADER_BYTES
    assert billing.PUBLISH_UNIT_BYTES == UNIT_BYTES
    assert objects.MOST_READ_BYTES == reach.MOST_READ_BYTES
    assert (objects.PAGE_BYTES, objects.MARGIN) == (reach.PAGE_BYTES, reach.MARGIN)
    assert (layer_object._HEAD.size, layer_object._ENTRY.size) == (objects.HEAD_BYTES, objects.ENTRY_BYTES)
    assert (Asking.FIRST_S, Asking.MOST_S) == (pace.FIRST_S, pace.MOST * pace.FIRST_S)
    assert (Asking.GROWTH, Asking.EARLIER) == (pace._GROWTH, pace._EARLIER)
    assert (Polling.SHORTER, Polling.AT_A_TIME) == (patience._SHORTER, queue_room.POLLS_AT_A_TIME)


@pytest.mark.parametrize("channel", ["queue", "object"])
@pytest.mark.parametrize(
    "plan",
    [
        "rows",
        "heavy rows",
        "rows above a message",
        "relayed rows",
        "heavy relayed rows",
        "pipeline",
        "heavy pipeline",
        "replicas",
        "hybrid",
    ],
)
def test_what_is_predicted_is_what_happens(plan: str, channel: str) -> None:
    spread = spreads()[plan]
    exchange = CHANNELS[channel].exchange(spread, DELAY)
    (when,) = timings(spread, exchange, MACHINE, DELAY, [1024])
    found = simulate(spread, channel, MACHINE, DELAY, 1024)
    assert found.total_s == pytest.approx(when.total_s, rel=0.1)
    assert found.runtime_s == pytest.approx(when.runtime_s, rel=0.1)
    assert sent(found) == pytest.approx(exchange.nbytes, rel=0.02, abs=100)
    assert asked(found) == pytest.approx(exchange.calls + when.receive_calls, rel=0.05, abs=2)
    usage = exchange.usage + exchange.receive_usage * when.receive_units
    assert found.usage.calls == pytest.approx(usage.calls + 2 * spread.workers, rel=0.05, abs=10)


def test_what_goes_through_the_root_costs_less_and_takes_longer() -> None:
    spread, given = spreads()["relayed rows"], problem(layers=20, rows=256, samples=4000, workers=(20,))
    straight = simulate(by_rows(given, given.partitions[20]), "queue", MACHINE, DELAY, 1024)
    found = simulate(spread, "queue", MACHINE, DELAY, 1024)
    sends, expected = found.meter.publishes + found.meter.queue_sends, 19 * 19 * 2 + 19
    assert found.meter.messages_sent == expected
    assert sends <= expected
    assert asked(found) < 0.7 * asked(straight)
    assert straight.total_s + 19 * DELAY.hop_s < found.total_s < 2.5 * straight.total_s


def test_runs_are_the_same_each_time() -> None:
    spread = spreads()["rows"]
    once, again = (simulate(spread, "queue", MACHINE, DELAY, 1024) for _ in range(2))
    assert once == again


def test_serial_takes_no_channel() -> None:
    given = problem()
    (serial,) = policy_class("plans", "serial")().spreads(given, 1)
    found = simulate(serial, "queue", MACHINE, DELAY, 1769)
    assert found.total_s == pytest.approx(found.ready_s + float(serial.compute_s[0]), rel=1e-3)
    assert asked(found) == 0


@pytest.mark.parametrize("scheme", sorted(ROOMS))
def test_everything_that_is_sent_arrives_by_every_scheme(scheme: str) -> None:
    facts = workload(layers=5, rows=64)
    given = problem(layers=5)
    spread = by_rows(given, partition(facts, 4, sent=3))
    found = simulate(spread, scheme, MACHINE, DELAY, 1024)
    assert found.meter.messages_sent == found.meter.messages_received == len(spread.transfers)
    assert 0 < found.utilisation < 1
    assert found.runtime_s >= found.total_s - found.ready_s


def test_the_paper_s_objects_are_one_for_each_pair_and_ours_one_for_each_sender() -> None:
    spread = spreads()["rows"]
    pairs, senders = (
        len(spread.transfers),
        len(np.unique(spread.transfers.step * 8 + spread.transfers.source)),
    )
    theirs, ours = (simulate(spread, scheme, MACHINE, DELAY, 1024) for scheme in ("paper_object", "object"))
    assert theirs.meter.puts == pairs + 1  # and the mark of the run
    assert ours.meter.puts == senders + 1
    assert theirs.meter.lists > ours.meter.lists == 1


def test_a_large_pipeline_comes_near_its_ceiling() -> None:
    machine = msgspec.structs.replace(MACHINE, encode=CodecCost(), decode=CodecCost())
    given = problem(layers=64, rows=64, samples=1_000_000, machine=machine)
    found = simulate(staged(given, 8, 32), "queue", machine, DELAYS["hop-20ms"], 1769)
    assert 0.9 * ceiling(8, 32) < found.utilisation <= ceiling(8, 32)
