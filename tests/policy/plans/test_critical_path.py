"""Seconds along the longest chain: small cases by hand, and what must hold in all of them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.chooser import CHANNELS
from glowplug.policy.plans.critical_path import floor_s, loading_s, step_costs, timings
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.model import DELAYS, IDEAL, MIB_PER_VCPU, CodecCost, Delays, MachineModel
from glowplug.policy.plans.pipeline import ceiling, staged
from glowplug.policy.plans.spread import Spread
from glowplug.policy.registry import policy_class
from tests.depth import examples
from tests.policy.plans.problems import MACHINE, problem, problems

SLOW = DELAYS["hop-250ms"]
INSTANT = Delays(
    name="instant", hop_s=0, publish_s=0, send_s=0, poll_s=0, delete_s=0, put_s=0, get_s=0, list_s=0,
    invoke_s=0, start_s=0, bytes_per_s=1e15,
)  # fmt: skip
FREE = msgspec.structs.replace(IDEAL, rates=MACHINE.rates)
"""Only multiplying takes time."""


ANOMALY = 0.03


def one(plan: str, given_problem: Problem, workers: int) -> Spread:
    found: list[Spread] = policy_class("plans", plan)().spreads(given_problem, workers)
    return found[0]


def total_s(
    spread: Spread, channel: str, delays: Delays, machine: MachineModel = FREE, memory_mib: int = MIB_PER_VCPU
) -> float:
    exchange = CHANNELS[channel].exchange(spread, delays)
    return timings(spread, exchange, machine, delays, [memory_mib])[0].total_s


def test_serial_takes_its_compute() -> None:
    spread = one("serial", problem(machine=FREE), 1)
    assert total_s(spread, "queue", INSTANT) == pytest.approx(float(spread.compute_s[0]))
    assert total_s(spread, "queue", INSTANT, memory_mib=MIB_PER_VCPU // 2) == pytest.approx(
        2 * float(spread.compute_s[0]), rel=0.01
    )


def test_rows_wait_a_hop_for_each_exchange() -> None:
    spread = one("rows", problem(layers=6, machine=FREE), 4)
    hops = msgspec.structs.replace(INSTANT, hop_s=1.0)
    waited = 6.0 + float(spread.urgent_s.max(axis=1).sum())
    assert waited <= total_s(spread, "queue", hops) <= waited + float(spread.idle_s.max(axis=1).sum())


def test_a_pipeline_is_filled_and_emptied_once() -> None:
    given_problem = problem(layers=8, samples=640, machine=FREE)
    spread = staged(given_problem, 4, 16)
    work_s = float(spread.compute_s.sum())
    assert total_s(spread, "queue", INSTANT) == pytest.approx(work_s / 4 / ceiling(4, 16))
    hops = msgspec.structs.replace(INSTANT, hop_s=1.0)
    assert total_s(spread, "queue", hops) == pytest.approx(4.0 + work_s / 4 / ceiling(4, 16))


def test_replicas_share_the_work() -> None:
    given_problem = problem(samples=1000, machine=FREE)
    alone = total_s(one("serial", given_problem, 1), "queue", INSTANT)
    assert total_s(one("replicas", given_problem, 4), "queue", INSTANT) == pytest.approx(alone / 4)


def test_children_are_started_before_a_worker_loads() -> None:
    spread = one("replicas", problem(), 2)
    delays = msgspec.structs.replace(INSTANT, invoke_s=1.0)
    assert loading_s(spread, IDEAL, delays).tolist() == [0.0, 0.0]
    large = one("replicas", problem(), 20)  # 4 start 4 each
    assert loading_s(large, IDEAL, delays).tolist() == [4.0] * 4 + [0.0] * 16


@settings(max_examples=examples(25), deadline=None)
@given(
    problems, st.sampled_from(["rows", "pipeline", "replicas", "hybrid"]), st.sampled_from(sorted(CHANNELS))
)
def test_nothing_is_faster_than_its_floor(given_problem: Problem, plan: str, channel: str) -> None:
    try:
        spreads: list[Spread] = policy_class("plans", plan)().spreads(given_problem, 4)
    except CannotSpread:
        return
    for spread in spreads:
        for delays in DELAYS.values():
            exchange = CHANNELS[channel].exchange(spread, delays)
            found = timings(spread, exchange, given_problem.machine, delays, [512, 1769, 3538])
            floor = floor_s(spread, exchange)
            assert all(each.total_s >= floor * (1 - 1e-9) for each in found[1:])
            # The slower may be spared receives that find nothing; on objects its pace may gain. And work in
            # lines has anomalies (Graham, 1969): an exchange that begins later may find its line free.
            spared_s = max(0.0, found[1].receive_calls - found[0].receive_calls) * delays.poll_s
            slower, faster = found[0].total_s, found[1].total_s
            assert slower * (1 + ANOMALY) + spared_s >= faster or channel == "object"
            assert found[1] == found[2]  # one thread has one vCPU
            assert all(0 < each.utilisation <= 1 for each in found)
            assert all(each.runtime_s >= each.total_s - each.ready_s for each in found)


@settings(max_examples=examples(25), deadline=None)
@given(problems, st.sampled_from(["rows", "pipeline", "hybrid"]))
def test_a_longer_hop_never_helps(given_problem: Problem, plan: str) -> None:
    try:
        spread = one(plan, given_problem, 4)
    except CannotSpread:
        return
    took = [
        total_s(spread, "queue", DELAYS[name], MACHINE) for name in ("hop-20ms", "hop-100ms", "hop-250ms")
    ]
    assert took == sorted(took)


def test_sizes_side_by_side_are_as_one_by_one() -> None:
    spread = one("rows", problem(), 8)
    for channel in CHANNELS:
        exchange = CHANNELS[channel].exchange(spread, SLOW)
        together = timings(spread, exchange, MACHINE, SLOW, [256, 1024, 1769])
        assert together == [timings(spread, exchange, MACHINE, SLOW, [size])[0] for size in (256, 1024, 1769)]
        assert np.diff([each.total_s for each in together]).max() <= 0 or channel == "object"


def test_what_is_encoded_costs_by_its_bytes_too() -> None:
    """But for the result, which is hardly any."""
    given_problem = problem(layers=8, machine=FREE)
    spread = staged(given_problem, 2, 4)
    per_byte = msgspec.structs.replace(FREE, encode_whole=CodecCost(byte_s=1e-6), decode_whole=CodecCost())
    costs = step_costs(spread, per_byte)
    passed_on = spread.transfers.step < spread.steps
    assert (costs.before[:, 0] - step_costs(spread, FREE).before[:, 0])[:-1] == pytest.approx(
        spread.transfers.nbytes[passed_on] * 1e-6
    )
    assert costs.before[-1].tolist() == costs.taking[-1].tolist() == [0.0, 0.0]
