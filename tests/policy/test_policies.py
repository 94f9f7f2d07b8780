from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pytest

from glowplug.core.errors import InvalidDeclaration
from glowplug.core.ids import InstanceId
from glowplug.core.ladder import Step
from glowplug.core.rng import Rng, rng_for
from glowplug.policy.arrivals import Arrivals
from glowplug.policy.costs import Costs
from glowplug.policy.dispatch.finish_first import FinishFirst
from glowplug.policy.eviction import Worth
from glowplug.policy.eviction.value_per_byte import ValuePerByte
from glowplug.policy.prewarm.fixed import Fixed
from glowplug.policy.prewarm.none import NoKeepWarm
from glowplug.policy.registry import POLICIES, policy_class


@dataclass
class Load:
    """A dispatch view, written down."""

    idle: InstanceId | None = None
    climbing: InstanceId | None = None
    climbing_left_s: float = inf
    free_in_s: float = inf
    spare: tuple[InstanceId, float] | None = None
    serving: int = 0
    run_s: float = 0.1
    can_grow: bool = True
    grow_s: float = 1.0


def rng() -> Rng:
    return rng_for(0, 0)


@pytest.mark.parametrize(
    ("load", "ahead", "action"),
    [
        (Load(idle=InstanceId(1), serving=1), 0, "run"),
        (Load(), 0, "climb"),
        (Load(can_grow=False), 0, "wait"),
        (Load(free_in_s=0.5, serving=1), 0, "wait"),
        (Load(free_in_s=2.0, serving=1), 0, "climb"),
        (Load(free_in_s=0.5, serving=1), 9, "climb"),
        (Load(free_in_s=2.0, serving=1, can_grow=False), 0, "wait"),
        (Load(climbing=InstanceId(2), climbing_left_s=0.3, serving=1), 0, "run"),
        (Load(climbing=InstanceId(2), climbing_left_s=0.3, free_in_s=0.1, serving=2), 0, "wait"),
        (Load(spare=(InstanceId(3), 0.2), free_in_s=0.1, serving=1), 0, "run"),
        (Load(spare=(InstanceId(3), 2.0), free_in_s=0.1, serving=1), 0, "climb"),
        (Load(spare=(InstanceId(3), 2.0), free_in_s=0.1, serving=1, can_grow=False), 0, "run"),
        (Load(idle=InstanceId(1), spare=(InstanceId(3), 0.0), serving=2), 0, "run"),
        (Load(spare=(InstanceId(3), 0.2), free_in_s=0.1, serving=1), 9, "climb"),
    ],
)
def test_finish_first_takes_the_least_finish(load: Load, ahead: int, action: str) -> None:
    assert FinishFirst().decide(load, ahead, 0.0, rng).action == action


def worth(rank: float, saved_s: float = 1.0, held_bytes: int = 100, pinned: bool = False) -> Worth:
    return Worth(rank, saved_s, held_bytes, pinned)


def test_the_least_value_per_byte_goes() -> None:
    policy = ValuePerByte()
    policy.offer("small", "n", worth(0.0, held_bytes=100))
    policy.offer("big", "n", worth(0.0, held_bytes=1000))
    policy.offer("dear", "n", worth(0.0, saved_s=100.0, held_bytes=1000))
    assert policy.victims("n", 50, (), inf, lambda key: 0.0) == ["big"]
    assert policy.victims("n", 1050, (), inf, lambda key: 0.0) == ["big", "small"]
    assert policy.victims("n", 50, ("big",), inf, lambda key: 0.0) == ["small"]


def test_as_much_as_there_is_goes_up_to_the_limit() -> None:
    policy = ValuePerByte()
    policy.offer("a", "n", worth(0.0))
    assert policy.victims("n", 101, (), inf, lambda key: 0.0) == ["a"]
    assert policy.victims("elsewhere", 1, (), inf, lambda key: 0.0) == []
    assert policy.victims("n", 100, (), policy.score(worth(0.0)), lambda key: 0.0) == [], "not for its equal"
    assert policy.victims("n", 100, ("a",), inf, lambda key: 0.0) == []


def test_no_more_than_needed_is_evicted() -> None:
    policy = ValuePerByte()
    policy.offer("crumb", "n", worth(-9.0, held_bytes=10))
    policy.offer("loaf", "n", worth(0.0, held_bytes=1000))
    assert policy.victims("n", 500, (), inf, lambda key: 0.0) == ["loaf"]


def test_what_is_withdrawn_or_offered_anew_counts_once() -> None:
    policy = ValuePerByte()
    for _ in range(1000):
        policy.offer("a", "n", worth(0.0))
    assert policy.offered("n") == 100
    assert len(policy.heaps["n"]) < 100
    policy.withdraw("a")
    policy.withdraw("a")
    assert policy.offered("n") == 0
    assert policy.victims("n", 1, (), inf, lambda key: 0.0) == []


def test_what_is_pinned_goes_last() -> None:
    policy = ValuePerByte()
    policy.offer("pinned", "n", worth(-50.0, pinned=True))
    policy.offer("popular", "n", worth(50.0))
    assert policy.victims("n", 1, (), inf, lambda key: 0.0) == ["popular"]
    assert policy.victims("n", 150, (), policy.pinned_from, lambda key: 0.0) == ["popular"]


def test_arrivals_fade_and_keep_their_order() -> None:
    arrivals = Arrivals(window_s=100.0)
    for _ in range(3):
        arrivals.observe("old", 0.0)
    arrivals.observe("new", 200.0)
    for now_s in (200.0, 1000.0):
        by_rate = sorted(("old", "new"), key=lambda k: arrivals.rate_per_s(k, now_s))
        assert by_rate == sorted(("old", "new"), key=arrivals.rank) == ["old", "new"]
    assert arrivals.rate_per_s("nobody", 0.0) == 0.0
    arrivals.forget("old")
    assert arrivals.rate_per_s("old", 200.0) == 0.0


def test_costs_are_measured_and_smoothed() -> None:
    costs = Costs()
    assert costs.climb_s("v", Step.STAGED) < costs.climb_s("v", Step.IMPORTED)
    costs.learn("v", "staged", 1.0)
    assert costs.climb_s("v", Step.STAGED) == 1.0
    costs.learn("v", "staged", 2.0)
    assert 1.0 < costs.climb_s("v", Step.STAGED) < 2.0
    costs.forget("v")
    assert costs.climb_s("v", Step.STAGED) < 1.0


@dataclass
class Kept:
    used_s: float = 10.0
    keep_warm_s: float = 5.0


def test_prewarm_policies() -> None:
    assert Fixed().keep_until_s(Kept(), 12.0) == 15.0
    assert NoKeepWarm().keep_until_s(Kept(), 12.0) == 12.0


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in POLICIES.items() for n in names])
def test_every_registered_policy_is_there(kind: str, name: str) -> None:
    assert policy_class(kind, name)() is not None


def test_an_unknown_policy_names_those_that_exist() -> None:
    with pytest.raises(InvalidDeclaration, match="fixed, histogram, kept"):
        policy_class("prewarm", "oracle")
