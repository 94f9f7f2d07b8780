"""The Azure Functions 2019 trace, from small files of both layouts and, where it is, the recorded hour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.core.errors import InvalidTrace, InvalidWorkload
from glowplug.sim.workloads.gaps import Classes, classes
from glowplug.sim.workloads.minute_counts import MinuteCounts
from glowplug.sim.workloads.registry import make_trace
from tests.sim.workloads.traces import HOUR, at

DURATIONS = "Average,Count,Minimum,Maximum," + ",".join(
    f"percentile_Average_{p}" for p in (0, 1, 25, 50, 75, 99, 100)
)
MEMORY = "SampleCount,AverageAllocatedMb," + ",".join(
    f"AverageAllocatedMb_pct{p}" for p in (1, 5, 25, 50, 75, 95, 99, 100)
)

needs_hour = pytest.mark.skipif(
    not HOUR.is_dir(), reason=f"the recorded hour is not at {HOUR}: it is no part of the repository"
)


def write_day(path: Path, rows: dict[str, Sequence[int]]) -> Path:
    """`rows` are counts by minute of "owner,app,function,trigger"."""
    minutes = len(next(iter(rows.values())))
    lines = ["HashOwner,HashApp,HashFunction,Trigger," + ",".join(str(m + 1) for m in range(minutes))]
    lines += [f"{who},{','.join(map(str, counts))}" for who, counts in rows.items()]
    path.write_text("\r\n".join(lines) + "\r\n")
    return path


def test_counts_become_calls_at_the_middles_of_their_parts(tmp_path: Path) -> None:
    made = make_trace(f"azure2019:{write_day(tmp_path / 'd.csv', {'o,a,f,http': [2, 0, 1]})}")
    assert at(made, 0) == [15, 45, 150]
    assert made.span_s == 180
    assert made.names == ("f",)


@pytest.mark.parametrize("spread", ["even", "phased", "uniform"])
def test_every_call_stays_in_its_minute(tmp_path: Path, spread: str) -> None:
    counts = np.random.default_rng(3).poisson(2.0, (4, 1440))
    day = write_day(tmp_path / "d.csv", {f"o,a,f{n},http": row.tolist() for n, row in enumerate(counts)})
    made = make_trace(f"azure2019:{day},spread={spread}", seed=5)
    cells = np.zeros_like(counts)
    np.add.at(cells, (made.function, (made.times_s // 60).astype(int)), 1)
    assert (cells == counts).all()
    again, other = (make_trace(f"azure2019:{day},spread={spread}", seed=seed) for seed in (5, 6))
    assert again.times_s.tolist() == made.times_s.tolist()
    assert (other.times_s.tolist() == made.times_s.tolist()) == (spread == "even")


def test_days_of_a_folder_follow_each_other(tmp_path: Path) -> None:
    write_day(tmp_path / "d01.csv", {"o,a,f,http": [1, 0], "o,a,g,timer": [0, 1]})
    write_day(tmp_path / "d02.csv", {"o,a,g,timer": [1, 0], "o,b,g,queue": [0, 1]})
    made = make_trace(f"azure2019:{tmp_path}")
    assert made.names == ("f", "g", "g")
    assert [at(made, k) for k in range(3)] == [[30], [90, 150], [210]]
    assert made.facts.triggers == ("http", "timer", "queue")
    assert at(make_trace(f"azure2019:{tmp_path},start_min=1,minutes=2"), 1) == [30, 90]


def test_facts_are_joined_by_function_or_by_app(tmp_path: Path) -> None:
    write_day(tmp_path / "calls.csv", {"o,a,f,http": [1], "o,a,g,http": [2], "o,b,h,http": [1]})
    (tmp_path / "took.csv").write_text(
        f"HashOwner,HashApp,HashFunction,{DURATIONS}\no,a,g,9,9,9,9,1,2,3,4,5,6,7\n"
    )
    (tmp_path / "held.csv").write_text(f"HashOwner,HashApp,{MEMORY}\no,a,9,9,1,2,3,4,5,6,7,8\n")
    made = make_trace(f"azure2019:{tmp_path},top=2")
    assert made.names == ("g", "f")
    assert made.facts.duration_s[0].tolist() == pytest.approx([0.001 * p for p in range(1, 8)])
    assert np.isnan(made.facts.duration_s[1]).all()
    assert made.facts.memory_bytes.tolist() == [[1e6 * p for p in range(1, 9)]] * 2


def test_sampling_takes_whole_functions(tmp_path: Path) -> None:
    day = write_day(tmp_path / "d.csv", {f"o,a,f{n},http": [n, n] for n in range(1, 21)})
    made = make_trace(f"azure2019:{day},sample=5", seed=1)
    assert made.functions == 5
    assert made.counts().tolist() == [2 * int(name[1:]) for name in made.names]
    assert make_trace(f"azure2019:{day},sample=5", seed=2).names != made.names


@pytest.mark.parametrize("normalise", ["time", "minute"])
def test_a_rate_is_met(tmp_path: Path, normalise: str) -> None:
    counts = np.random.default_rng(3).poisson(5.0, (10, 30))
    day = write_day(tmp_path / "d.csv", {f"o,a,f{n},http": row.tolist() for n, row in enumerate(counts)})
    made = make_trace(f"azure2019:{day},top=8,rate_per_min=60,minutes=10,normalise={normalise}")
    assert made.requests == 600
    assert made.span_s == 600
    if normalise == "minute":
        assert np.bincount((made.times_s // 60).astype(int)).tolist() == [60] * 10


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=5), st.integers(1, 40)
)
def test_scaled_counts_are_within_one_of_their_share(rows: list[list[int]], rate: int) -> None:
    dense = np.array(rows) + np.array([[1]] + [[0]] * (len(rows) - 1))
    function, minute = np.nonzero(dense)
    counts = MinuteCounts(function.astype(np.int32), minute.astype(np.int32), dense[function, minute], 3)
    scaled = counts.at_rate(rate)
    found = np.zeros(dense.shape)
    found[scaled.function, scaled.minute] = scaled.count
    assert found.sum(0).tolist() == [rate] * 3
    assert (abs(found - dense * rate / dense.sum(0)) < 1).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("HashFunction,1,2\nf,1,x", "line 2, column 2: a count of calls expected, found 'x'"),
        ("HashFunction,1,2\nf,1,2\ng,1,-2", "line 3, column 2: a count of calls expected, found '-2'"),
        ("HashFunction,1,2\nf,1,2.5", "line 2, column 2: a count of calls expected, found '2.5'"),
        ("HashFunction,1,2\n\nf,1", "line 3: 3 columns expected, found 2"),
        ("HashFunction,1,2\nf,1,2,3", "line 2: 3 columns expected, found 4"),
        ("HashFunction,1,3\nf,1,2", "line 1: minutes 1 to 2 expected"),
        ("Function,1,2\nf,1,2", "line 1: the columns HashFunction and minutes"),
        ("", "line 1: the columns HashFunction and minutes"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(InvalidTrace, match=said) as caught:
        make_trace(f"azure2019:{path}")
    assert "broken.csv" in str(caught.value)


def test_broken_facts_are_named_with_their_line(tmp_path: Path) -> None:
    write_day(tmp_path / "calls.csv", {"o,a,f,http": [1]})
    (tmp_path / "took.csv").write_text(f"HashFunction,{DURATIONS}\nf,9,9,9,9,1,2,3,4,oh,6,7\n")
    with pytest.raises(InvalidTrace, match="column percentile_Average_75: a number expected, found"):
        make_trace(f"azure2019:{tmp_path}")


def test_places_without_a_trace(tmp_path: Path) -> None:
    with pytest.raises(InvalidTrace, match="HashFunction and minutes"):
        make_trace(f"azure2019:{tmp_path}")
    with pytest.raises(InvalidTrace, match="No such file"):
        make_trace(f"azure2019:{tmp_path / 'none.csv'}")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("start_min=2", "minute 2 are wanted, the trace has 2"),
        ("start_min=1,minutes=5", "minute 1 and 5 after it are wanted, the trace has 2"),
        ("top=2", "2 functions asked for: the trace has 1"),
        ("top=1,sample=1", "not both"),
        ("rate_per_min=60,minutes=2", "120 calls; the trace has 3"),
        ("normalise=minute,minutes=2", "needs a whole rate_per_min"),
        ("normalise=minute,minutes=2,rate_per_min=5", "minute 1 has no calls"),
    ],
)
def test_settings_that_ask_for_too_much(tmp_path: Path, settings: str, said: str) -> None:
    day = write_day(tmp_path / "d.csv", {"o,a,f,http": [3, 0]})
    with pytest.raises(InvalidWorkload, match=said):
        make_trace(f"azure2019:{day},{settings}")


@needs_hour
def test_the_recorded_hour_is_what_its_description_says() -> None:
    made = make_trace(f"azure2019:{HOUR}")
    assert (made.requests, made.functions, made.span_s) == (85_470, 1_000, 3600)
    assert classes(made) == Classes(754, 217, 29, 0)
    assert made.facts.median_s()[0] == pytest.approx(0.140)
    assert made.facts.memory_bytes[0, 3] == 189e6
    assert made.facts.triggers.count("timer") == 414


def test_a_file_that_is_a_header_only_is_told(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("HashOwner,HashApp,HashFunction,Trigger,1,2\r\n")
    with pytest.raises(InvalidTrace, match="has no calls"):
        make_trace(f"azure2019:{path}")
