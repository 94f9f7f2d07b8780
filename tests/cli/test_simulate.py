from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glowplug.cli.simulate import simulate
from glowplug.core.errors import GlowplugError, InvalidArguments, InvalidDeclaration, InvalidWorkload

LOAD = "zipf:functions=6,rate_per_min=60,minutes=1"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(workload: str = LOAD, **options: Any) -> dict[str, Any]:
        simulate(workload, json=True, **options)
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def test_what_calls_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("HashFunction,1,2\nf,0,0\n")
    with pytest.raises(InvalidWorkload, match="has no calls"):
        simulate(f"azure2019:{tmp_path}/d.csv")


def test_policies_are_compared_on_the_same_calls(printed: Callable[..., dict[str, Any]]) -> None:
    found = printed(policy="finish-first, lb", devices=3, loader="paper")
    first, second = found["rows"]
    assert (first["policy"], first["eviction"]) == ("finish-first", "value-per-byte")
    assert (second["policy"], second["eviction"]) == ("lb", "lru")
    assert first["requests"] == second["requests"] > 30
    assert first["offered_load"] == second["offered_load"]
    assert first["mean_s"] < second["mean_s"]
    assert first["simulated"] is True
    assert found["devices"] is None


def test_the_fewest_devices_are_found(printed: Callable[..., dict[str, Any]]) -> None:
    found = printed(find="devices", p99="7s")
    count = found["devices"]["finish-first"]
    by_devices = {row["devices"]: row["p99_s"] for row in found["rows"]}
    assert by_devices[count] <= 7.0
    assert all(p99_s > 7.0 for devices, p99_s in by_devices.items() if devices < count)


def test_where_no_number_is_enough_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate(LOAD, find="devices", p99="1400ms")
    assert ended.value.code == 1
    words = said(capsys)
    assert re.search(r"devices are not enough for a p99 of 1400ms: it is [\d.]+ s there, of runs", words)
    assert "of runs alone 1.33 s. More are not tried" in words
    assert "by runs and first loads alone" not in words


def test_a_p99_below_that_of_the_runs_is_refused_before_anything_is_simulated() -> None:
    with pytest.raises(InvalidArguments, match="--p99: no number of devices is enough: runs alone take 1"):
        simulate(LOAD, find="devices", p99="1s")


def test_more_devices_than_the_mean_load_asks_for_are_found(printed: Callable[..., dict[str, Any]]) -> None:
    """Bursts of a function that keeps a fifth of a device busy; five are not enough."""
    found = printed("bursty:functions=1,rate_per_min=10,minutes=60", find="devices", p99="2s")
    assert found["devices"]["finish-first"] > 5
    by_devices = {row["devices"]: row["p99_s"] for row in found["rows"]}
    assert by_devices[found["devices"]["finish-first"]] <= 2.0 < by_devices[5]


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    simulate(LOAD, devices=2)
    out = capsys.readouterr().out
    assert "simulated: " in out
    assert "finish-first" in out


def test_profiles_of_ones_own(tmp_path: Path, printed: Callable[..., dict[str, Any]]) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("model,device_mb,load_s,run_s\nsmall,100,0.5,0.01\n")
    (row,) = printed(profiles=str(path), devices=1)["rows"]
    assert row["p50_s"] < 0.1
    assert row["loads"] == 6


def test_clients_that_give_up_are_counted(printed: Callable[..., dict[str, Any]]) -> None:
    (row,) = printed("zipf:functions=6,rate_per_min=200,minutes=1", devices=1, timeout="10s")["rows"]
    assert row["refused"]["deadline_passed"] > 0
    assert row["answered"] + sum(row["refused"].values()) == row["requests"]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_why_requests_were_refused_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate(LOAD, policy="finish-first,lb", device_memory="1GB")
    assert ended.value.code == 1  # under lb nothing was answered
    words = said(capsys)
    assert "lb: 63 of 63 requests were refused: 63 no_space (" in words
    assert "takes 1.6 GB of a device, and each has 1.0 GB: give more --device-memory" in words
    simulate(LOAD, devices=2, timeout="3s")
    assert "deadline_passed (their client had given up, after 3s)" in said(capsys)
    simulate(LOAD, devices=2)
    assert "were refused" not in said(capsys)


def test_a_model_larger_than_a_device_is_no_matter_of_their_number() -> None:
    with pytest.raises(InvalidWorkload, match="no number of devices is enough: resnext50"):
        simulate(LOAD, find="devices", p99="5s", device_memory="1GB")


def test_that_requests_are_refused_is_why_no_number_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        simulate(LOAD, find="devices", p99="5s", timeout="3s")
    words = said(capsys)
    assert "devices are not enough: with so many, 8 of 63 requests were refused: 8 deadline_passed" in words
    assert "The p99 of the others is 1.36 s" in words


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"policy": "best"}, InvalidDeclaration, "no scheduling policy is called 'best'"),
        ({"eviction": "none"}, InvalidDeclaration, "no eviction policy"),
        ({"p99": "5s"}, InvalidDeclaration, "--p99 needs --find devices"),
        ({"find": "devices"}, InvalidDeclaration, "--find devices needs --p99"),
        ({"devices": 0}, InvalidDeclaration, "devices"),
        ({"device_memory": "lots"}, InvalidDeclaration, "--device-memory"),
        ({"profiles": "none.csv"}, InvalidWorkload, "cannot read none.csv"),
        ({"workload": "zipff"}, InvalidWorkload, "no workload is called 'zipff'"),
    ],
)
def test_what_makes_no_sense_is_named(
    options: dict[str, Any], error: type[GlowplugError], words: str
) -> None:
    with pytest.raises(error, match=words):
        simulate(**{"workload": LOAD, **options})


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'glowplug[plots]'")
    simulate(LOAD, devices=2, policy="finish-first,lalb-o3", plot=tmp_path / "out.svg")
    assert "lalb-o3" in (tmp_path / "out.svg").read_text()


def test_batches_are_made_within_a_latency_target(
    printed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """More than the one device can do one by one: four at once take as long as two."""
    profiles = tmp_path / "profiles.csv"
    profiles.write_text("model,device_mb,load_s,run_s,batch_4_s\na,1000,1,1,2\n", encoding="utf-8")
    load = "poisson:functions=1,rate_per_min=90,minutes=1"
    options = {"workload": load, "devices": 1, "max_batch": 4, "profiles": str(profiles), "loader": "paper"}
    alone, batched = (printed(**options, latency_target=target)["rows"][0] for target in (None, "10s"))
    assert batched["answered"] == alone["answered"]
    assert batched["mean_s"] < alone["mean_s"] / 2


def written(tmp_path: Path, row: str) -> str:
    path = tmp_path / "profiles.csv"
    path.write_text(f"model,device_mb,load_s,run_s\n{row}\n", encoding="utf-8")
    return str(path)


def test_what_a_profile_may_not_say_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidWorkload, match=r"line 2, column load_s: 1e300 is more than 1e\+06: is it in sec"
    ):
        simulate(LOAD, profiles=written(tmp_path, "a,1000,1e300,1"))
    with pytest.raises(InvalidWorkload, match=r"column run_s: 1e7 is more than 1e\+06"):
        simulate(LOAD, profiles=written(tmp_path, "a,1000,1,1e7"))
    with pytest.raises(
        InvalidWorkload, match=r"column device_mb: 1e303 is more than 1e\+09: is it in megabytes"
    ):
        simulate(LOAD, profiles=written(tmp_path, "a,1e303,1,1"))


def test_a_load_that_would_be_given_up_each_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkload, match="a takes 121 s to load, and a load is given up after 120 s"):
        simulate(LOAD, profiles=written(tmp_path, "a,1000,121,1"))
    with pytest.raises(
        InvalidArguments, match=r"--copy-bandwidth: .* to copy, and a load is given up after 120"
    ):
        simulate(LOAD, copy_bandwidth="1")
    simulate(LOAD, copy_bandwidth="1", loader="paper", devices=2)  # there nothing is copied
    simulate(LOAD, profiles=written(tmp_path, "a,1000,120,1"))


def test_a_device_that_is_slowed_a_million_times_is_waited_for(
    printed: Callable[..., dict[str, Any]],
) -> None:
    (row,) = printed("zipf:rate_per_min=325,minutes=1", fault=("slow:0@1s,factor=1e6",))["rows"]
    assert row["answered"] == row["requests"]
    assert row["worst_s"] > 1e6


def test_runs_of_days_are_played_to_their_end(tmp_path: Path, printed: Callable[..., dict[str, Any]]) -> None:
    (row,) = printed(profiles=written(tmp_path, "a,1000,1,1e6"), devices=2)["rows"]
    assert row["answered"] == row["requests"]
    assert row["p50_s"] > 1e7


def test_what_would_not_end_says_where_the_simulation_does(tmp_path: Path) -> None:
    """The one device takes a million times as long for a day's runs."""
    profiles = written(tmp_path, "a,1000,0,86400")
    with pytest.raises(
        InvalidWorkload, match=r"requests are still waited for \d+ s after the last call, where"
    ):
        simulate(LOAD, devices=1, profiles=profiles, fault=("slow:0@1s,factor=1e6",))
