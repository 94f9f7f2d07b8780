"""Seeded generators."""

from __future__ import annotations

import numpy as np
import pytest

from glowplug.sim.workloads.gaps import variation
from glowplug.sim.workloads.generated import shares
from glowplug.sim.workloads.registry import make_trace


@pytest.mark.parametrize("text", ["poisson", "zipf"])
def test_a_seed_is_a_trace(text: str) -> None:
    made, again, other = (make_trace(text, seed=seed) for seed in (1, 1, 2))
    assert list(made.events()) == list(again.events())
    assert list(made.events()) != list(other.events())


@pytest.mark.parametrize("text", ["poisson", "zipf"])
def test_the_rate_is_met_on_average(text: str) -> None:
    made = make_trace(f"{text}:functions=20,rate_per_min=3000,minutes=20")
    assert made.requests == pytest.approx(60_000, rel=0.05)
    assert made.span_s == 1200


def test_shares_follow_zipf() -> None:
    assert shares(3, 1.0).tolist() == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    assert shares(4, 0.0).tolist() == [0.25] * 4
    counts = make_trace("zipf:functions=100,s=1.2,rate_per_min=100000,minutes=1").counts()
    assert counts / counts.sum() == pytest.approx(shares(100, 1.2), abs=0.01)


def test_poisson_gaps_vary_by_one() -> None:
    found = variation(make_trace("poisson:functions=10,rate_per_min=6000,minutes=10"))
    assert found == pytest.approx(np.ones(10), abs=0.08)


def test_a_hundred_thousand_functions() -> None:
    made = make_trace("zipf:functions=100000,s=0.9,rate_per_min=200000,minutes=1")
    assert made.functions == 100_000
    assert made.counts().argmax() == 0
