"""Every plan: nothing is left out, nothing is done twice, and what cannot be spread says why."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.policy.plans import CannotSpread, Plan
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.pipeline import cut_evenly
from glowplug.policy.plans.relay import ENTRY_BYTES
from glowplug.policy.plans.spread import ROOT, Spread, split
from glowplug.policy.registry import POLICIES, policy_class
from tests.depth import examples
from tests.policy.plans.problems import problem, problems

PLANS = tuple(POLICIES["plans"])


def spreads(name: str, given_problem: Problem, workers: int) -> list[Spread]:
    plan: Plan = policy_class("plans", name)()
    try:
        return plan.spreads(given_problem, workers)
    except CannotSpread:
        return []


def work_s(given_problem: Problem) -> float:
    workload = given_problem.workload
    return sum(
        given_problem.layer_s(index, float(layer.edges), workload.samples)
        for index, layer in enumerate(workload.layers)
    )


@settings(max_examples=examples(40), deadline=None)
@given(problems, st.sampled_from(PLANS), st.sampled_from([1, 2, 4, 8, 16]))
def test_all_of_the_work_is_done_once(given_problem: Problem, plan: str, workers: int) -> None:
    for spread in spreads(plan, given_problem, workers):
        spread.validate()
        assert spread.workers == workers
        fixed_s = given_problem.machine.layer_s * spread.steps * workers * len(given_problem.workload.layers)
        largest = (
            1 + spread.cut.replicas / given_problem.workload.samples
        )  # groups are reckoned by the largest
        assert spread.compute_s.sum() >= work_s(given_problem) * (1 - 1e-9)
        assert spread.compute_s.sum() <= work_s(given_problem) * largest * (1 + 1e-9) + fixed_s * 20


@settings(max_examples=examples(40), deadline=None)
@given(problems, st.sampled_from(PLANS), st.sampled_from([1, 2, 4, 8, 16]))
def test_shares_cover_all_samples_and_layers(given_problem: Problem, plan: str, workers: int) -> None:
    workload = given_problem.workload
    for spread in spreads(plan, given_problem, workers):
        groups = itertools.groupby(spread.shares, key=lambda share: share.samples)
        samples = [group for group, _ in groups]
        assert samples[0][0] == 0
        assert samples[-1][1] == workload.samples
        assert all(one[1] == other[0] for one, other in itertools.pairwise(samples))
        first = [share for share in spread.shares if share.samples == samples[0]]
        if spread.cut.stages:
            assert [share.layers for share in first] == list(
                itertools.pairwise((0, *spread.cut.stages, len(workload.layers)))
            )
        else:
            assert {share.layers for share in first} == {(0, len(workload.layers))}


def test_rows_sends_what_the_partition_says() -> None:
    given_problem = problem()
    (spread,) = spreads("rows", given_problem, 4)
    assert spread.rows_sent == given_problem.partitions[4].rows_sent == 2 * 12 * 5
    assert set(spread.transfers.step[spread.transfers.step < spread.steps].tolist()) == {0, 1, 2, 3, 4}
    gathered = spread.transfers.step == spread.steps
    assert sorted(spread.transfers.source[gathered].tolist()) == [1, 2, 3]
    assert (spread.transfers.nbytes[gathered] == -(-500 // 8)).all()


def test_what_goes_through_the_root_is_what_was_sent_and_all_that_was_computed() -> None:
    straight, through_root = spreads("rows", problem(workers=(20,)), 20)
    through_root.validate()
    assert (through_root.rows_sent, through_root.steps) == (straight.rows_sent, 2 * straight.steps)
    assert through_root.compute_s == pytest.approx(straight.compute_s)
    moved, before = through_root.transfers, straight.transfers
    relayed = np.isin(moved.step, through_root.relayed) | np.isin(moved.step - 1, through_root.relayed)
    assert ((moved.source == ROOT) ^ (moved.target == ROOT))[relayed].all()
    to_root = relayed & (moved.target == ROOT)
    others = before.source != ROOT
    within = others & (before.step < straight.steps)
    assert moved.nbytes[to_root].sum() == pytest.approx((before.nbytes[within] + ENTRY_BYTES).sum())
    assert through_root.memory_bytes > straight.memory_bytes


def test_few_workers_or_few_pairs_are_not_worth_a_hop() -> None:
    assert [spread.cut.relayed for spread in spreads("rows", problem(), 8)] == [False]
    assert not any(spread.cut.relayed for spread in spreads("hybrid", problem(workers=(20,)), 40))


def test_a_pipeline_passes_every_micro_batch_over_every_cut() -> None:
    for spread in spreads("pipeline", problem(layers=8), 4):
        between = spread.transfers.step < spread.steps
        assert between.sum() == 3 * spread.cut.micro_batches
        assert spread.rows_sent == 3 * spread.cut.micro_batches * 64
        assert spread.transfers.source[~between].tolist() == [3]


def test_a_hybrid_is_groups_that_do_not_meet_before_the_end() -> None:
    for spread in spreads("hybrid", problem(layers=8), 8):
        size = 8 // spread.cut.replicas
        between = spread.transfers.step < spread.steps
        source, target = spread.transfers.source[between], spread.transfers.target[between]
        assert (source // size == target // size).all()


def test_memory_is_named_by_the_largest() -> None:
    facts = problem().workload
    (serial,) = spreads("serial", problem(), 1)
    assert serial.memory_bytes == facts.weights_bytes + 20 * 6 * 64 + (2 * 500 + 512) * 4 * 64
    (rows,) = spreads("rows", problem(), 4)
    kernels = 20 * 6 * 16 + 4 * 6 * 512
    assert rows.memory_bytes == facts.weights_bytes // 4 + kernels + (2 * 500 + 512) * 4 * 48


@pytest.mark.parametrize(
    ("plan", "workers", "why"),
    [
        ("serial", 2, "one worker"),
        ("replicas", 1, "at least two"),
        ("replicas", 501, "500 samples cannot be split over 501"),
        ("pipeline", 1, "at least two"),
        ("pipeline", 7, "7 workers cannot each have one of 6 layers"),
        ("rows", 1, "at least two"),
        ("rows", 65, "65 workers cannot each have one of the 64 rows"),
        ("rows", 3, "no partition of the rows over 3 workers"),
        ("hybrid", 3, "no two groups"),
    ],
)
def test_what_cannot_be_spread_says_why(plan: str, workers: int, why: str) -> None:
    with pytest.raises(CannotSpread, match=why):
        policy_class("plans", plan)().spreads(problem(), workers)


def test_a_batch_of_one_and_of_none() -> None:
    for samples in (0, 1):
        (serial,) = spreads("serial", problem(samples=samples), 1)
        serial.validate()
        (rows,) = spreads("rows", problem(samples=samples), 4)
        rows.validate()
        assert spreads("replicas", problem(samples=samples), 2) == []


items = st.lists(st.tuples(*[st.floats(0.01, 10)] * 3), min_size=1, max_size=9)


@given(items, st.integers(1, 9), st.booleans())
def test_a_cut_is_the_best_there_is(
    given_items: list[tuple[float, float, float]], parts: int, hands_on: bool
) -> None:
    costs, leaving, entering = (list(column) for column in zip(*given_items, strict=True))
    if not hands_on:
        leaving = entering = []
    many = len(costs)
    if parts > many:
        with pytest.raises(ValueError, match="cannot be cut"):
            cut_evenly(costs, parts, leaving, entering)
        return

    def dearest(ranges: Iterable[tuple[int, int]]) -> float:
        return max(
            sum(costs[start:end])
            + (entering[start] if hands_on and start else 0.0)
            + (leaving[end] if hands_on and end < many else 0.0)
            for start, end in ranges
        )

    found = cut_evenly(costs, parts, leaving, entering)
    assert found[0][0] == 0
    assert found[-1][1] == many
    assert len(found) == parts
    assert all(one[1] == other[0] for one, other in itertools.pairwise(found))
    assert all(start < end for start, end in found)
    best = min(
        dearest(itertools.pairwise((0, *cuts, many)))
        for cuts in itertools.combinations(range(1, many), parts - 1)
    )
    assert dearest(found) <= best * 1.0101


def test_of_cuts_that_are_as_good_the_one_that_hands_on_least() -> None:
    assert cut_evenly([1.0, 1.0, 1.0, 3.0], 2, [0, 5, 1, 0.2], [0, 5, 1, 0.2]) == [(0, 3), (3, 4)]
    assert cut_evenly([3.0, 1.0, 1.0, 3.0], 2, [0, 1.0, 2.0, 0.1], [0, 1.0, 2.0, 0.1]) == [(0, 3), (3, 4)]


def test_the_more_passes_the_more_the_dearest_range_counts() -> None:
    costs, handed = [0.5, 0.5, 0.004, 0.996], [0, 1, 0.001, 0]
    assert cut_evenly(costs, 2, handed, handed, passes=1) == [(0, 3), (3, 4)]
    assert cut_evenly(costs, 2, handed, handed, passes=2) == [(0, 2), (2, 4)]


@given(st.integers(0, 1000), st.integers(1, 50))
def test_a_split_is_even(count: int, parts: int) -> None:
    sizes = [end - start for start, end in split(count, parts)]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1


def test_plans_are_told_apart_by_name() -> None:
    assert {
        spread.plan
        for plan in PLANS
        for spread in spreads(plan, problem(layers=8), 1 if plan == "serial" else 4)
    } == set(PLANS)
    assert np.isfinite(spreads("rows", problem(), 2)[0].urgent_s).all()
