"""`glowplug simulate --fault`: three calls, ten seconds apart, of a model that loads and runs in a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glowplug.cli.simulate import simulate
from glowplug.core.errors import InvalidArguments

LOAD = "zipf:functions=6,rate_per_min=60,minutes=1"
Printed = Callable[..., dict[str, Any]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    def run(workload: str = LOAD, **options: Any) -> dict[str, Any]:
        simulate(workload, json=True, **options)
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


@pytest.fixture
def three(tmp_path: Path, printed: Printed) -> Printed:
    """The row of three calls on one device, with these faults. `lalb` loads nothing ahead."""
    calls, profiles = tmp_path / "calls.csv", tmp_path / "profiles.csv"
    calls.write_text("time_s,function\n0,a\n10,a\n20,a\n")
    profiles.write_text("model,device_mb,load_s,run_s\na,1000,1,1\n")

    def run(*faults: str, **options: Any) -> dict[str, Any]:
        given = {
            "devices": 1,
            "loader": "paper",
            "policy": "lalb",
            "profiles": str(profiles),
            "fault": faults,
        }
        row: dict[str, Any] = printed(f"events:{calls}", **given, **options)["rows"][0]
        assert row["answered"] + sum(row["refused"].values()) == row["requests"] == 3
        return row

    return run


@pytest.mark.parametrize(
    ("fault", "sum_s", "loads", "refused"),
    [
        ((), 2 + 1 + 1, 1, {}),
        (("slow:0@5s,factor=5,for=8s",), 2 + 5 + 1, 1, {}),
        (("memory:0@5s",), 2 + 2 + 1, 2, {}),
        (("memory:0@1500ms",), 2 + 1, 2, {"worker_died": 1}),
        (("gone:0@5s,for=10s",), 2 + 2, 2, {"unavailable": 1}),
        (("gone:n0/gpu0@15s",), 2 + 1, 1, {"unavailable": 1}),
    ],
)
def test_a_fault_changes_what_it_should(
    three: Printed, fault: tuple[str, ...], sum_s: float, loads: int, refused: dict[str, int]
) -> None:
    row = three(*fault)
    assert row["mean_s"] * row["answered"] == pytest.approx(sum_s)
    assert (row["loads"], row["refused"]) == (loads, refused)
    assert len(row["faults"]) == len(fault)


def test_loads_that_fail_are_made_again(three: Printed) -> None:
    row = three("loads:0@0s,count=1")
    assert (row["loads"], row["refused"]) == (2, {})
    assert row["worst_s"] > 3.0, "two loads, and a run"
    assert row["faults"] == [{"harm": "loads", "device": "n0/gpu0", "at_s": 0.0, "count": 1}]


@pytest.mark.parametrize("error", [1.0, 3.0, 1 / 3])
def test_what_the_scheduler_was_told_of_runs_is_put_right_by_each_run(three: Printed, error: float) -> None:
    row = three(profile_error=error)
    assert row["profile_error"] == error
    assert abs(row["run_estimates"] - 1) <= abs(error - 1) / 2
    assert row["mean_s"] == pytest.approx(4 / 3)


def test_the_same_seed_has_the_same_faults_and_the_same_outcome(printed: Printed) -> None:
    def rows(seed: int) -> list[dict[str, Any]]:
        given = {"devices": 3, "policy": "finish-first,lb", "fault": ("gone:any@any", "slow:any@any")}
        found: list[dict[str, Any]] = printed(seed=seed, **given)["rows"]
        return [{name: value for name, value in row.items() if name != "wall_s"} for row in found]

    first = rows(1)
    assert first == rows(1)
    assert first[0]["faults"] == first[1]["faults"] != rows(2)[0]["faults"]


def test_how_many_are_enough_although_one_disappears(printed: Printed) -> None:
    whole, short = (
        printed(find="devices", p99="7s", fault=fault)["devices"]["finish-first"]
        for fault in ((), ("gone:any@1s",))
    )
    assert short == whole + 1


def test_the_table_says_what_happened_and_why_requests_were_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    busy = "zipf:functions=6,rate_per_min=120,minutes=1"
    simulate(busy, devices=2, fault=("gone:1@20s", "slow:0@30s,for=5s"), profile_error=3.0)
    words = " ".join(capsys.readouterr().out.split())
    assert "n0/gpu1: is gone from 20 s on" in words
    assert "n0/gpu0: takes 10 times as long from 30 s to 35 s" in words
    assert "the scheduler is told 3 times what loads and runs take" in words
    assert "1 worker_died (what they ran on failed)" in words


def test_the_picture_shows_where_it_happened(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'glowplug[plots]'")
    simulate(LOAD, devices=3, fault=("gone:1@20s", "memory:2@30s"), plot=tmp_path / "out.svg")
    drawn = (tmp_path / "out.svg").read_text()
    assert "gone" in drawn
    assert "memory lost" in drawn


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fault": ("slow:12@5s",)}, "devices are 0 to 11"),
        ({"fault": ("gone:0@5s",), "find": "devices", "p99": "5s"}, "write any for DEVICE"),
        ({"fault": ("gone:any@5s",) * 3, "devices": 2}, "too few devices"),
    ],
)
def test_what_makes_no_sense_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArguments, match=words):
        simulate(LOAD, **options)
