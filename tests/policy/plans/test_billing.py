"""Counted units, dollars, and the tree that starts workers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.policy.plans.billing import Prices, Usage, function_gib_s
from glowplug.policy.plans.tree import PUBLISHED, launch_tree, started_s

PRICES = Prices(
    invocation=1.0, function_gib_s=2.0, publish=3.0, published_byte=4.0, queue_call=5.0, put=6.0, get=7.0,
    listing=8.0, server_hour={"small": 3600.0},
)  # fmt: skip


def test_a_bill_is_units_times_prices() -> None:
    usage = Usage(
        invocations=1, function_gib_s=1, publishes=1, published_bytes=1, queue_calls=1, queue_deletes=1,
        puts=1, gets=1, lists=1, server_s={"small": 2.0},
    )  # fmt: skip
    assert PRICES.bill(usage) == {
        "functions": 3.0, "publishes": 3.0, "bytes": 4.0, "queue": 10.0, "objects": 21.0, "servers": 2.0
    }  # fmt: skip
    assert PRICES.usd(usage) == 43.0
    assert usage.calls == 6


def test_usages_add_up_and_multiply() -> None:
    one, other = Usage(puts=1, server_s={"small": 1.0}), Usage(puts=2, gets=3, server_s={"large": 2.0})
    assert one + other == Usage(puts=3, gets=3, server_s={"small": 1.0, "large": 2.0})
    assert one * 4 == Usage(puts=4, server_s={"small": 4.0})
    assert PRICES.usd(one + one) == 2 * PRICES.usd(one)


def test_an_unknown_server_has_no_price() -> None:
    with pytest.raises(KeyError):
        PRICES.usd(Usage(server_s={"huge": 1.0}))


def test_half_a_gib_for_two_seconds_is_one() -> None:
    assert function_gib_s(2.0, 512) == 1.0


@pytest.mark.parametrize(("workers", "branching"), PUBLISHED.items())
def test_published_trees_are_full(workers: int, branching: int) -> None:
    tree = launch_tree(workers)
    assert tree.branching == branching
    starters = {parent for parent in tree.parents if parent >= 0}
    assert all(sum(parent == one for parent in tree.parents) == branching for one in {-1, *starters})


@given(st.integers(1, 200), st.integers(1, 12))
def test_everybody_is_started_by_somebody_who_runs(workers: int, branching: int) -> None:
    tree = launch_tree(workers, branching)
    assert all(parent < worker for worker, parent in enumerate(tree.parents))
    began = started_s(tree, 0.5, 2.0)
    for worker, parent in enumerate(tree.parents):
        assert began[worker] >= (began[parent] if parent >= 0 else 0.0) + 2.5
    assert max(began) <= (len(bin(workers)) if branching > 1 else workers) * (0.5 * branching + 2.0)


def test_nobody_is_no_tree() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        launch_tree(0)
