"""`glowplug replay` of a workload."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.cli.replay import replay
from glowplug.cli.replay_cluster import share_of
from glowplug.control.journal_files import JournalWriter
from glowplug.control.state import ControlState
from glowplug.core.errors import InvalidArguments, InvalidDeclaration, InvalidUpload, InvalidWorkload
from glowplug.core.events import RequestArrived
from glowplug.core.ids import FunctionId, GatewayId, RequestId
from glowplug.core.settings import ControlSettings
from glowplug.sim.systems import system_of

WORKLOAD = "zipf:functions=6,rate_per_min=20,minutes=10,seed=3"
SCARCE = "zipf:functions=24,rate_per_min=60,minutes=5,seed=3"


def test_policies_are_compared_at_equal_memory(capsys: pytest.CaptureFixture[str]) -> None:
    replay(WORKLOAD, policy="ladder,fixed", nodes=2, memory="60%", json=True)
    found = msgspec.json.decode(capsys.readouterr().out)
    ladder, fixed = found["policies"]
    assert (found["nodes"], found["seed"], found["simulated"]) == (2, 3, True)
    assert (ladder["policy"], fixed["policy"]) == ("ladder", "fixed")
    assert fixed["loaded_ahead"] == 0
    for row in (ladder, fixed):
        assert row["held_mean_bytes"] <= found["nodes"] * found["node_bytes"]
        assert 0.0 <= row["wait_p50_s"] <= row["wait_p99_s"]


ONE = "timers:functions=1,rate_per_min=2,minutes=2"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"memory": "25%"}, r"the node would have 162 MB, .* needs 379 MB .*: give at least --memory 59%$"),
        (
            {"memory": "50%", "nodes": 2},
            r"each of 2 nodes would have 162 MB, .*: give at least --memory 117%$",
        ),
        (
            {"memory": "101%", "nodes": 4},
            r"each of 4 nodes would have 164 MB, .* --memory 234%, or --nodes 1$",
        ),
        (
            {"memory": "101%", "substrate": "process"},
            r"the node would have 655 MB, .* needs 1.1 GB .* --memory 178%$",
        ),
    ],
)
def test_nodes_that_cannot_hold_a_function_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArguments, match=f"^--memory: {words}"):
        replay(ONE, policy="fixed", **given)


def test_what_the_refusal_says_to_give_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    for memory, nodes in (("59%", 1), ("234%", 4), ("101%", 1)):
        replay(ONE, policy="fixed", memory=memory, nodes=nodes, json=True)
        found = msgspec.json.decode(capsys.readouterr().out)
        assert [row["failed"] for row in found["policies"]] == [0]


@pytest.mark.parametrize(
    ("workload", "given", "nodes", "node_mb"),
    [
        (ONE, {}, 1, 379), (ONE, {"nodes": 3}, 3, 379), (ONE, {"substrate": "process"}, 1, 1149),
        ("zipf:functions=8,rate_per_min=20,minutes=3", {}, 2, 1099),
        ("zipf:functions=40,rate_per_min=60,minutes=1", {}, 4, 2747),
    ],
)  # fmt: skip
def test_without_a_memory_each_function_fits(
    capsys: pytest.CaptureFixture[str], workload: str, given: dict[str, Any], nodes: int, node_mb: int
) -> None:
    """25 % on four nodes, where that is enough."""
    replay(workload, policy="fixed", json=True, **given)
    found = msgspec.json.decode(capsys.readouterr().out)
    assert (found["nodes"], found["node_bytes"] // 10**6) == (nodes, node_mb)
    assert [row["failed"] for row in found["policies"]] == [0]


def test_that_nothing_was_answered_is_the_exit_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glowplug.cli.replay_cluster.least_node_bytes", lambda trace, systems: 1)
    for json in (True, False):
        with pytest.raises(SystemExit) as ended:
            replay(ONE, policy="fixed", nodes=4, memory="25%", json=json)
        assert ended.value.code == 1
        out = capsys.readouterr().out
        if json:
            (row,) = msgspec.json.decode(out)["policies"]
            assert row["failed"] == 4
            assert row["wait_mean_s"] is row["wait_p99_s"] is row["waited_share"] is None
        else:
            assert "calls that failed, or had no answer in time" in " ".join(out.split())


@pytest.mark.filterwarnings("error")
def test_it_draws_what_failed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'glowplug[plots]'")
    monkeypatch.setattr("glowplug.cli.replay_cluster.least_node_bytes", lambda trace, systems: 1)
    with pytest.raises(SystemExit):
        replay(ONE, policy="fixed", nodes=4, memory="25%", plot=tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_it_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'glowplug[plots]'")
    replay(WORKLOAD, policy="fixed", nodes=1, substrate="process", plot=tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 10_000
    assert "fixed" in capsys.readouterr().out


def test_a_path_is_a_journal(tmp_path: Path) -> None:
    with pytest.raises(InvalidUpload, match="no journal in"):
        replay(str(tmp_path / "none"))


@pytest.mark.parametrize(
    "idle",
    [
        {"policy": "tyche"}, {"nodes": 2}, {"memory": "25%"}, {"substrate": "process"}, {"seed": 0},
        {"preload_cpu_share": 0.15}, {"preload_uncalled": False}, {"live": True}, {"plot": Path("out.png")},
    ],
)  # fmt: skip
def test_a_journal_has_its_own_settings(tmp_path: Path, idle: dict[str, Any]) -> None:
    (option,) = idle
    writer = JournalWriter(tmp_path)
    writer.begin(ControlState(ControlSettings()).snapshot())
    writer.close()
    with pytest.raises(InvalidArguments, match=f"^--{option.replace('_', '-')}: a journal is handled"):
        replay(str(tmp_path), **idle)


def test_what_is_no_journal_may_have_been_meant_as_a_workload() -> None:
    with pytest.raises(InvalidUpload, match=r"no journal in zipf: .* or a workload such as zipf:"):
        replay("zipf", policy="tyche", memory="10%")
    with pytest.raises(InvalidArguments, match="--live needs a workload, such as zipf:"):
        replay(live=True, memory="1GB", policy="ladder")


def test_loads_ahead_keep_to_a_share_of_a_core(capsys: pytest.CaptureFixture[str]) -> None:
    """The server's, unless another is given."""
    spent_s = {}
    for share in (None, 0.15, 0.05, 0.01, math.inf):
        replay(SCARCE, policy="ladder", nodes=1, memory="10%", preload_cpu_share=share, json=True)
        found = msgspec.json.decode(capsys.readouterr().out)
        assert found["preload_cpu_share"] == {None: 0.15, math.inf: None}.get(share, share)
        spent_s[share] = found["policies"][0]["load_ahead_s"]
    assert spent_s[None] == spent_s[0.15]
    assert spent_s[0.01] < spent_s[0.05] < spent_s[math.inf]
    for share in (0.0, -1.0, math.nan):
        with pytest.raises(InvalidArguments, match=f"--preload-cpu-share: {share:g} is not a share"):
            replay(WORKLOAD, preload_cpu_share=share)


def test_what_nobody_has_called_is_held_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    """As on the server. Without it nothing is loaded before each function's first call."""
    loaded = {}
    for uncalled in (None, True, False):
        replay(WORKLOAD, policy="ladder", nodes=1, memory="200%", preload_uncalled=uncalled, json=True)
        found = msgspec.json.decode(capsys.readouterr().out)
        assert found["preload_uncalled"] is (uncalled is not False)
        loaded[uncalled] = found["policies"][0]["loaded_ahead"]
    assert loaded[None] == loaded[True] > loaded[False]


def test_a_journal_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, writer = ControlState(ControlSettings()), JournalWriter(tmp_path)
    writer.begin(state.snapshot())
    event = RequestArrived(RequestId(1), FunctionId("f.default"), GatewayId("g"), 9.0)
    writer.append(1.0, event, state.handle(event, 1.0))
    writer.append(2.0, event, [])
    writer.close()
    with pytest.raises(SystemExit) as ended:
        replay(str(tmp_path))
    said = capsys.readouterr().out
    assert "2 events in 1 segments" in said
    assert "1 events gave others" in said
    assert "event 1: RequestArrived(request=1" in said
    assert ended.value.code == 1


@pytest.mark.parametrize("memory", ["", "25 MB", "-1%", "nan", "0"])
def test_memory_is_a_share(memory: str) -> None:
    assert share_of("25%") == share_of("0.25") == 0.25
    with pytest.raises(InvalidArguments, match="--memory"):
        share_of(memory)


def test_names_of_policies() -> None:
    assert system_of("tyche+histogram", "zygote").prewarm == "histogram"
    assert system_of("tyche", "process").limit_bytes > 0
    with pytest.raises(InvalidDeclaration, match="no policy is called 'best'"):
        system_of("best", "zygote")
    with pytest.raises(InvalidDeclaration, match="no prewarm policy"):
        system_of("tyche+often", "zygote")


def test_what_cannot_be_played_live_is_said_before_a_server_starts() -> None:
    with pytest.raises(InvalidArguments, match="it is bytes"):
        replay(WORKLOAD, live=True)
    with pytest.raises(InvalidArguments, match="--nodes: with --live there is this machine alone"):
        replay(WORKLOAD, policy="fixed", live=True, memory="1GB", nodes=4)
    with pytest.raises(InvalidArguments, match="--substrate: with --live"):
        replay(WORKLOAD, policy="fixed", live=True, memory="1GB", substrate="process")
    with pytest.raises(InvalidArguments, match="clairvoyant knows the next calls, and no server does"):
        replay(WORKLOAD, policy="clairvoyant", live=True, memory="1GB")
    with pytest.raises(InvalidArguments, match="--preload-cpu-share: inf is not a share"):
        replay(WORKLOAD, policy="fixed", live=True, memory="1GB", preload_cpu_share=math.inf)
    with pytest.raises(InvalidDeclaration, match="no policy is called 'best'"):
        replay(WORKLOAD, policy="best", live=True, memory="1GB")
    with pytest.raises(InvalidArguments, match="at most 64 functions"):
        replay("zipf:functions=65,rate_per_min=20,minutes=1", policy="fixed", live=True, memory="1GB")


@pytest.mark.parametrize(("live", "memory"), [(False, "25%"), (True, "1GB")])
def test_what_calls_nothing_is_told(tmp_path: Path, live: bool, memory: str) -> None:
    (tmp_path / "d.csv").write_text("HashFunction,1,2\nf,0,0\n")
    with pytest.raises(InvalidWorkload, match="has no calls"):
        replay(f"azure2019:{tmp_path}/d.csv", policy="fixed", live=live, memory=memory)
