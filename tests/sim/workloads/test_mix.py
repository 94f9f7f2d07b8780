"""Hot, once-a-minute and rare functions of one recorded hour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.gaps import changes, gaps
from glowplug.sim.workloads.mix import Mix
from glowplug.sim.workloads.registry import make_trace
from tests.sim.workloads.test_azure2019 import write_day


@pytest.fixture
def hour(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    rates = np.geomspace(12, 0.2, 40)
    rows = {f"o,a,f{n},http": [1, *rng.poisson(rate, 59)] for n, rate in enumerate(rates)}
    return write_day(tmp_path / "hour.csv", rows)


def test_the_hot_are_whole_and_the_rare_are_rare(hour: Path) -> None:
    recorded, made = make_trace(f"azure2019:{hour}"), make_trace(f"mix:{hour}", seed=3)
    made.validate()
    assert made.span_s == 4 * 3600
    hot, per_hour = round(0.2 * 40), made.counts() / 4
    assert made.counts()[:hot].tolist() == np.sort(recorded.counts())[::-1][:hot].tolist()
    assert per_hour[hot:].max() < 20
    assert per_hour[hot:].min() < 1


def test_gaps_are_a_functions_own_made_longer(hour: Path) -> None:
    """Nothing is left out in between and nothing is repeated."""
    workload = Mix(path=str(hour))
    source, made = workload.source(3), workload.trace(3)
    for function in range(made.functions):
        longer = gaps(made)[0][gaps(made)[1] == function]
        own = gaps(source)[0][gaps(source)[1] == function]
        if len(longer):
            places = [p for p in range(len(own)) if len(own[p : p + len(longer)]) == len(longer)]
            shapes = [own[p : p + len(longer)] / own[p : p + len(longer)].sum() for p in places]
            assert any(np.allclose(shape, longer / longer.sum(), rtol=1e-6) for shape in shapes)


def test_how_regular_functions_are_before_and_after(hour: Path) -> None:
    workload = Mix(path=str(hour))
    source, made = workload.source(3), workload.trace(3)
    found = changes(source, made)
    assert found["predictable"].bursty == 0
    assert sum(sum(map(int, (c.predictable, c.normal, c.bursty, c.unknown))) for c in found.values()) == 40


def test_seeds_show_other_parts_of_the_rare(hour: Path) -> None:
    one, same, other = (make_trace(f"mix:{hour}", seed=seed) for seed in (1, 1, 2))
    assert list(one.events()) == list(same.events())
    assert one.counts()[:8].tolist() == other.counts()[:8].tolist()
    assert one.counts()[8:].tolist() != other.counts()[8:].tolist()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("rate_per_min=3", "sets its own rates"),
        ("hot=0.6,minute=0.6", "exceed 1"),
        ("rare_least_per_hour=9,rare_most_per_hour=3", "rare_least_per_hour rare_most_per_hour"),
        ("minutes=30", "60 minutes are longer than the mix"),
    ],
)
def test_settings_that_contradict(hour: Path, settings: str, said: str) -> None:
    with pytest.raises(InvalidWorkload, match=said):
        make_trace(f"mix:{hour},{settings}")
