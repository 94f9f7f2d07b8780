"""A way that is given is expected to take what it is when a plan comes upon it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from glowplug.policy.plans import CannotSpread
from glowplug.policy.plans.billing import Prices
from glowplug.policy.plans.chooser import Terms, score_all
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.given import foretell, of_cut
from glowplug.policy.plans.model import DELAYS
from glowplug.policy.plans.spread import Cut, Spread
from glowplug.policy.registry import POLICIES, policy_class
from tests.policy.plans.problems import problem, problems

TERMS = Terms(
    prices=Prices(1e-7, 2e-5, 5e-7, 1e-10, 4e-7, 5e-6, 4e-7, 5e-6, {"c5.large": 0.1}),
    delays=DELAYS["hop-100ms"],
    workers=(1, 2, 4, 8),
)


def assert_alike(one: Spread, other: Spread) -> None:
    assert (one.plan, one.workers, one.cut, one.lag, one.shares, one.beside) == (
        other.plan, other.workers, other.cut, other.lag, other.shares, other.beside,
    )  # fmt: skip
    assert np.array_equal(one.urgent_s, other.urgent_s)
    assert np.array_equal(one.idle_s, other.idle_s)
    assert one.relayed == other.relayed
    for found, expected in ((one.transfers, other.transfers), (one.payloads, other.payloads)):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            columns, others = asdict(found), asdict(expected)
            assert all(np.array_equal(columns[name], others[name]) for name in others)


@settings(max_examples=30, deadline=None)
@given(problems, st.sampled_from(tuple(POLICIES["plans"])), st.sampled_from([1, 2, 4, 8]))
def test_a_cut_says_all_of_a_spread(facts: Problem, plan: str, workers: int) -> None:
    try:
        spreads = policy_class("plans", plan)().spreads(facts, workers)
    except CannotSpread:
        return
    for spread in spreads:
        assert_alike(of_cut(facts, spread.cut), spread)


def test_a_cut_says_whether_rows_go_through_the_root() -> None:
    facts = problem(workers=(20,))
    straight, through_root = policy_class("plans", "rows")().spreads(facts, 20)
    assert through_root.relayed
    assert_alike(of_cut(facts, straight.cut), straight)
    assert_alike(of_cut(facts, through_root.cut), through_root)


def test_what_is_foretold_is_what_the_planner_scored() -> None:
    facts = problem()
    scored, _ = score_all(facts, TERMS)
    assert {each.channel for each in scored} == {"queue", "object", "nats"}
    for each in scored[:: len(scored) // 40]:
        assert foretell(facts, TERMS, each.cut, each.channel, each.memory_mib) == each


def test_a_pipeline_goes_by_the_cuts_that_are_given() -> None:
    facts = problem(layers=6)
    spread = of_cut(facts, Cut(stages=(1, 5), micro_batches=4))
    spread.validate()
    assert [share.layers for share in spread.shares] == [(0, 1), (1, 5), (5, 6)]
    seconds = spread.compute_s / spread.compute_s.sum()
    assert seconds == pytest.approx([1 / 6, 4 / 6, 1 / 6])


def test_micro_batches_that_are_given_are_kept() -> None:
    spread = of_cut(problem(samples=500), Cut(replicas=2, micro_batches=5))
    spread.validate()
    assert (spread.plan, spread.shares[0].chunk_samples) == ("replicas", 50)
