"""Two looks at counters become what `glowplug top` shows."""

from __future__ import annotations

import pytest

from glowplug.cli.rates import SORTS, picture
from glowplug.core.histogram import BOUNDS_S
from glowplug.core.status import ColdStart, FunctionLoad, Load, NodeStatus, Traffic

NODE = NodeStatus("n", 100, 50, 2)


def load(at_s: float, **traffic: Traffic) -> Load:
    functions = tuple(
        FunctionLoad(f"{name}.default", queued=n, worker_bytes=5 - n, weight_bytes=1)
        for n, name in enumerate(("b", "a", "quiet"))
    )
    return Load(at_s, functions, {f"{name}.default": found for name, found in traffic.items()}, (NODE,))


BEFORE = load(10, a=Traffic({"200": 100}, {5: 100}))
AFTER = load(
    12,
    a=Traffic(
        {"200": 120, "429": 2, "500": 4, "404": 2}, {5: 118, 20: 10}, 1.0, ColdStart("staged", 0.05, 9)
    ),
    b=Traffic({"200": 2}, {7: 2}),
)


def test_rates_and_times_are_of_the_interval() -> None:
    found = picture(BEFORE, AFTER)
    assert (found.interval_s, found.nodes) == (2, (NODE,))
    a, b, quiet = found.functions
    assert (a.function, a.rate, a.failing, a.queued, a.held_bytes) == ("a", 14, 3, 1, 5)
    assert a.p50_s is not None
    assert BOUNDS_S[4] <= a.p50_s <= BOUNDS_S[5]
    assert a.p99_s is not None
    assert BOUNDS_S[19] <= a.p99_s <= BOUNDS_S[20]
    assert (a.last_cold, a.cold_ago_s) == (ColdStart("staged", 0.05, 9), 3)
    assert (b.rate, b.last_cold) == (1, None)
    assert (quiet.function, quiet.rate, quiet.p50_s) == ("quiet", 0, None)


@pytest.mark.parametrize(
    ("sort", "first"),
    [("rate", "a"), ("queue", "quiet"), ("p99", "a"), ("memory", "b"), ("cold", "a"), ("name", "a")],
)
def test_rows_are_sorted(sort: str, first: str) -> None:
    assert picture(BEFORE, AFTER, sort=sort).functions[0].function == first
    assert sort in SORTS


def test_names_are_filtered() -> None:
    assert [row.function for row in picture(BEFORE, AFTER, "ui").functions] == ["quiet"]


def test_a_server_that_began_again_makes_no_negative_rate() -> None:
    assert picture(AFTER, BEFORE).functions[0].rate > 0
    assert all(row.rate >= 0 for row in picture(AFTER, load(20, a=Traffic({"200": 3}, {5: 3}))).functions)
