"""lb, lalb and lalb-o3: schedules worked out by hand. A load takes 3 s and a run 1 s, unless it is said."""

from __future__ import annotations

import pytest

from tests.policy.scheduling.ground import Ground, Model, function_of, runs

AB = {"a": Model(), "b": Model()}


def test_lb_goes_to_whoever_was_free_the_longest_wherever_the_model_lies() -> None:
    ground = Ground("lb", devices=2, models=AB)
    assert ground.play((1, "a"), (10, "a"), (20, "b"), (30, "a")) == [
        (1, "load", "a", "d0"),
        (4, "run", "a", "d0"),
        (10, "load", "a", "d1"),
        (13, "run", "a", "d1"),
        (20, "load", "b", "d0"),
        (23, "run", "b", "d0"),
        (30, "run", "a", "d1"),
    ]


def test_lb_computes_nothing_while_it_loads() -> None:
    ground = Ground("lb", room=2, models=AB)
    began = ground.play((1, "a"), (1, "b"), (1, "a"))
    assert [at_s for at_s, *_ in began] == [1, 4, 5, 8, 9]
    assert runs(began) == "aba"


def test_lalb_goes_where_the_model_lies() -> None:
    ground = Ground("lalb", devices=2, models=AB)
    began = ground.play((1, "a"), (10, "a"), (20, "b"), (30, "a"))
    assert [(what, name, device) for _, what, name, device in began] == [
        ("load", "a", "d0"),
        ("run", "a", "d0"),
        ("run", "a", "d0"),
        ("load", "b", "d1"),
        ("run", "b", "d1"),
        ("run", "a", "d0"),
    ]


def test_lalb_waits_for_a_busy_device_as_long_as_that_is_done_before_a_load() -> None:
    """At 10.5 s device 0 is done in 0.5 s, with one more in its line in 1.5 s, then in 2.5 s: less than 3."""
    ground = Ground("lalb", devices=2, models=AB)
    began = ground.play((1, "a"), (10, "a"), *[(10.5, "a")] * 5)
    assert ground.latencies("a") == [4.0, 1.0, 1.5, 2.5, 3.5, 4.0, 4.5]
    assert (10.5, "load", "a", "d1") in began, "a false miss"
    assert began[-1] == (14.0, "run", "a", "d0"), "the last waited for whoever was free first"


def test_a_model_that_is_loading_counts_as_being_there() -> None:
    """At 2 s device 0 is done in 2 + 1 s, which is not less than 3; at 2.5 s it is."""
    early = Ground("lalb", devices=2, models=AB)
    assert (2, "load", "a", "d1") in early.play((1, "a"), (2, "a"))
    late = Ground("lalb", devices=2, models=AB)
    assert late.play((1, "a"), (2.5, "a"))[1:] == [(4, "run", "a", "d0"), (5, "run", "a", "d0")]


def test_lalb_keeps_the_order_and_lalb_o3_does_not() -> None:
    asks = ((1, "a"), (4.5, "b"), (4.5, "a"))
    assert runs(Ground("lalb", models=AB).play(*asks)) == "aba"
    assert runs(Ground("lalb-o3", models=AB).play(*asks)) == "aab"


@pytest.mark.parametrize(
    ("limit", "order"), [(0, "abaaaaa"), (1, "aabaaaa"), (3, "aaaabaa"), (25, "aaaaaab")]
)
def test_nobody_is_passed_over_more_often_than_the_limit(limit: int, order: str) -> None:
    ground = Ground("lalb-o3", models=AB)
    ground.simulation.state.context.policies.scheduling.limit = limit  # type: ignore[attr-defined]
    assert runs(ground.play((1, "a"), (4.5, "b"), *[(4.6, "a")] * 5)) == order


def test_the_limit_of_lalb_o3_is_25() -> None:
    ground = Ground("lalb-o3", models=AB)
    order = runs(ground.play((1, "a"), (4.5, "b"), *[(4.6, "a")] * 40))
    assert order.index("b") == 1 + 25


def test_a_tally_is_kept_of_hits_misses_and_copies() -> None:
    """Device 0 gets a, device 1 a copy (a false miss), device 0 b in its place; the last finds a (a hit)."""
    ground = Ground("lb", devices=2, models=AB)
    ground.play((1, "a"), (10, "a"), (20, "b"), (30, "a"))
    tally = ground.tally
    assert (tally.requests, tally.hits, tally.misses, tally.false_misses) == (4, 1, 3, 1)
    assert (tally.loads, tally.copies, tally.evictions) == (3, 1, 1)
    assert tally.compute_s == pytest.approx(4.0)
    # On device 0 from 1 s to 20 s, on device 1 from 10 s on.
    assert tally.copies_on_average(function_of("a"), 1, 0.0, 40.0) == pytest.approx((19 + 30) / 40)
    assert tally.copies_on_average(function_of("b"), 1, 0.0, 40.0) == pytest.approx(20 / 40)


@pytest.mark.parametrize("policy", ["lb", "lb-overlap", "lalb", "lalb-o3", "lalb-overlap", "lalb-o3-overlap"])
def test_who_can_go_nowhere_holds_up_nobody(policy: str) -> None:
    """The large model fits device 1 alone, which is busy: b is not kept waiting for that."""
    models = {**AB, "large": Model(size_bytes=1500, run_s=20.0)}
    ground = Ground(policy, capacities=(1000, 1500), models=models)
    began = ground.play((1, "large"), (2, "large"), (3, "b"))
    assert (3, "load", "b", "d0") in began
    assert [device for _, _, name, device in began if name == "large"] == ["d1"] * 3


@pytest.mark.parametrize(
    "policy", ["lb", "lalb", "lalb-o3", "lalb-o3-overlap", "mqfq-sticky", "start-estimate"]
)
def test_no_policy_makes_more_copies_than_a_function_may_have(policy: str) -> None:
    ground = Ground(policy, devices=3, models={"a": Model(max_workers=2), "b": Model()})
    began = ground.play(*[(1.0 + n / 10, "a") for n in range(30)], (1.5, "b"))
    assert len({device for _, _, name, device in began if name == "a"}) <= 2
