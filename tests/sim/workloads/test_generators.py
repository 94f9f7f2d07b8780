"""Seeded generators."""

from __future__ import annotations

import numpy as np
import pytest

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.gaps import variation
from glowplug.sim.workloads.generated import shares
from glowplug.sim.workloads.registry import make_trace

KINDS = ["poisson", "zipf", "bursty", "bursty:together=true", "diurnal", "timers"]


@pytest.mark.parametrize("text", KINDS)
def test_a_seed_is_a_trace(text: str) -> None:
    made, again, other = (make_trace(text, seed=seed) for seed in (1, 1, 2))
    assert list(made.events()) == list(again.events())
    assert list(made.events()) != list(other.events())


@pytest.mark.parametrize(
    ("text", "off"),
    [
        ("poisson:", 0.02),
        ("zipf:", 0.02),
        ("bursty:", 0.1),
        ("diurnal:period_min=10,", 0.02),
        ("timers:", 0.02),
    ],
)
def test_the_rate_is_met_on_average(text: str, off: float) -> None:
    made = make_trace(f"{text}functions=50,rate_per_min=3000,minutes=20")
    assert made.requests == pytest.approx(60_000, rel=off)
    assert made.span_s == 1200


def test_bursts_are_as_long_as_they_should_be() -> None:
    made = make_trace("bursty:functions=20,rate_per_min=60000,minutes=30,burst_s=10,burst_share=0.2")
    of_second = np.zeros((20, 1800))
    np.add.at(of_second, (made.function, made.times_s.astype(int)), 1)
    in_burst = of_second > of_second.mean(1, keepdims=True)
    assert in_burst.mean() == pytest.approx(0.2, abs=0.04)
    begun = (in_burst[:, 1:] & ~in_burst[:, :-1]).sum()
    assert in_burst.sum() / begun == pytest.approx(10, rel=0.15)
    assert (variation(made) > 1.5).all()


def test_bursts_of_all_functions_may_come_together() -> None:
    apart, together = (
        make_trace(f"bursty:functions=50,rate_per_min=6000,minutes=10,together={together}", seed=2)
        for together in ("false", "true")
    )
    of_second = [np.histogram(made.times_s, 600, (0, 600))[0] for made in (apart, together)]
    assert of_second[1].std() > 3 * of_second[0].std()


def test_a_day_has_its_hours() -> None:
    made = make_trace("diurnal:rate_per_min=6000,minutes=20,period_min=20,depth=0.5")
    part = np.histogram(made.times_s, 20, (0, 1200))[0] / 6000
    assert part == pytest.approx(1 + 0.5 * np.sin(2 * np.pi * (np.arange(20) + 0.5) / 20), abs=0.08)


def test_timers_keep_their_clock_under_jitter() -> None:
    made = make_trace("timers:functions=5,rate_per_min=1,minutes=600,jitter_s=20")
    assert made.facts.triggers == ("timer",) * 5
    for function in range(5):
        times_s = made.times_s[made.function == function]
        late_s = times_s - times_s[0] - 300 * np.round((times_s - times_s[0]) / 300)
        assert late_s.max() - late_s.min() <= 20
        assert np.std(np.diff(times_s)) > 4


def test_shares_follow_zipf() -> None:
    assert shares(3, 1.0).tolist() == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    assert shares(4, 0.0).tolist() == [0.25] * 4
    counts = make_trace("zipf:functions=100,s=1.2,rate_per_min=100000,minutes=1").counts()
    assert counts / counts.sum() == pytest.approx(shares(100, 1.2), abs=0.01)


def test_poisson_gaps_vary_by_one() -> None:
    found = variation(make_trace("poisson:functions=10,rate_per_min=6000,minutes=10"))
    assert found == pytest.approx(np.ones(10), abs=0.08)


@pytest.mark.parametrize("text", ["poisson", "diurnal", "timers", "bursty"])
def test_more_calls_than_fit_are_refused(text: str) -> None:
    with pytest.raises(InvalidWorkload, match="do not fit in memory"):
        make_trace(f"{text}:rate_per_min=1000000,minutes=1000")


def test_more_bursts_than_fit_are_refused() -> None:
    with pytest.raises(InvalidWorkload, match="too many"):
        make_trace("bursty:functions=100000,minutes=10000,rate_per_min=1")


def test_a_hundred_thousand_functions() -> None:
    made = make_trace("zipf:functions=100000,s=0.9,rate_per_min=200000,minutes=1")
    assert made.functions == 100_000
    assert made.counts().argmax() == 0
