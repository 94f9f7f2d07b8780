from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from glowplug.bench.gateway import claims, experiment, several, wrk
from glowplug.bench.gateway.control import TimedController, decision_rows, memory_row
from glowplug.bench.gateway.experiment import Options, cells
from glowplug.bench.peers.serving import CONTENDERS
from glowplug.bench.result import Result, print_rows

FLOORS = tuple(name for name, one in CONTENDERS.items() if one.kind == "floor")


def load(
    system: str, rate: float, workload: str = "echo", p99_s: float = 0.01, **more: Any
) -> dict[str, Any]:
    kind = CONTENDERS[system].kind if system in CONTENDERS else "ours"
    return {
        "part": "load", "system": system, "kind": kind, "workload": workload, "connections": 16, "rate": rate,
        "rate_min": rate, "rate_max": rate, "p50_s": p99_s / 2, "p99_s": p99_s, "p99_s_min": p99_s,
        "p99_s_max": p99_s, "failed": 0, "difference": 0.0, "equal": True, "way": "JSON", **more,
    }  # fmt: skip


def zero(system: str, standing: str, latency_s: float) -> dict[str, Any]:
    return {
        "part": "zero", "system": system, "function": "trivial", "standing": standing, "latency_s": latency_s,
        "latency_s_min": latency_s / 2, "latency_s_max": latency_s * 2,
        "difference": 0.0,
    }  # fmt: skip


def held(rows: list[dict[str, Any]]) -> dict[str, bool]:
    return {each.name: each.holds for each in claims.claims(rows)}


ROWS = [
    load("glowplug", 15_000, p99_s=0.0038), load("mosec", 9_900, p99_s=0.0039), load("ray", 100, p99_s=0.1),
    load("floor-asgi", 35_000, p99_s=0.001), load("glowplug", 99, "minilm"), load("mosec", 100, "minilm"),
    load("glowplug", 3000, "tensor"), load("bentoml", 999, "tensor"),
    load("glowplug", 100, "minilm", connections=64), load("glowplug-batched", 149, "minilm", connections=64),
    zero("glowplug", "imported", 0.1), zero("glowplug", "staged", 0.05), zero("glowplug", "parked", 0.001),
    zero("ray", "no replica", 2.0), zero("ray-tuned", "no replica", 3.0),
    {"part": "control", "functions": 1000, "standing": "local", "decision_s": 49e-6},
    {"part": "control", "functions": 500, "memory_bytes": 5_100_000},
]  # fmt: skip


def test_every_claim_is_judged_against_the_best_peer_and_no_floor() -> None:
    assert held(ROWS) == {
        "echo: requests a second / mosec's": True,
        "echo: p99 / mosec's": True,
        "minilm: requests a second / mosec's": False,
        "tensor: requests a second / bentoml's": True,
        "minilm at 64 connections: batched / unbatched": False,
        "trivial from zero: ray's time / ours from imported": True,
        "trivial from zero: ray's time / ours from staged": True,
        "trivial from zero: ray-tuned's best time / ours from imported": False,
        "trivial from zero: ray-tuned's best time / ours from staged": True,
        "a decision with 1000 functions, local_s": True,
        "control memory for 1,000 functions_bytes": False,
        "answers, all systems: difference from the right one": True,
        "our answers that failed or were lost": True,
    }


def test_a_lost_answer_of_ours_breaks_a_claim_and_a_peers_does_not() -> None:
    name = "our answers that failed or were lost"
    assert not held([load("glowplug", 1.0, failed=1)])[name]
    assert held([load("glowplug", 1.0), load("mosec", 1.0, failed=5)])[name]
    assert not held([load("mosec", 1.0, difference=1e-3)])[
        "answers, all systems: difference from the right one"
    ]


def test_claims_without_their_rows_are_not_made() -> None:
    assert held([]) == {}
    assert "echo" not in " ".join(held([load("glowplug", 1.0), load("floor-asgi", 2.0)]))
    assert not [name for name in held([zero("ray", "no replica", 1.0)]) if "zero" in name]


def test_systems_alternate_and_meet_every_workload_that_they_have() -> None:
    visits, missing = cells(Options(systems=("glowplug", *FLOORS), workloads=("echo", "tensor")))
    assert missing == []
    assert Counter(cell.workload for cell in visits) == {"echo": 4, "tensor": 4}
    assert [cell.system for cell in visits[:4]] == ["glowplug", *FLOORS]


def test_who_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "lacks", lambda one: "not here" if one.name == "mosec" else None)
    visits, missing = cells(Options(systems=("glowplug", "mosec", "litserve"), workloads=("echo",)))
    assert [cell.system for cell in visits] == ["glowplug", "litserve"]
    assert missing == ["mosec: not here"]


def test_batches_are_compared_with_the_same_connections_unbatched() -> None:
    if experiment.MODELS["minilm"].lacks:
        pytest.skip("needs the packages of requirements-examples.txt")
    visits, missing = cells(Options(systems=("glowplug",), workloads=("minilm",)))
    assert missing == []
    assert [(cell.system, cell.connections) for cell in visits] == [
        ("glowplug", 16), ("glowplug", 64), ("glowplug-batched", 64)
    ]  # fmt: skip


@pytest.mark.skipif(wrk.installed() is None, reason="wrk is not installed: make wrk")
def test_a_server_that_fails_is_told_and_the_others_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(CONTENDERS["floor-asgi"], name="broken", script="no_such_server")
    monkeypatch.setitem(CONTENDERS, "broken", broken)
    result = experiment.run(
        Options(
            systems=("broken", "floor-asgi"), workloads=("echo",), batching=False, from_zero=False, repeats=1,
            duration_s=1, functions=100, decisions=100,
        )
    )  # fmt: skip
    (row,) = experiment.of_part(result.rows, "load")
    assert (row["system"], row["failed"], row["equal"]) == ("floor-asgi", 0, True)
    assert row["rate"] > 0
    (missing,) = result.missing
    assert missing.startswith("broken echo, repeat 1: broken ended with status 1")
    assert "no_such_server" in missing
    assert set(result.settings["versions"]["floor-asgi"]) == {"uvicorn", "uvloop", "httptools"}


@pytest.mark.skipif(wrk.installed() is None, reason="wrk is not installed: make wrk")
def test_several_gateways_answer_for_the_same_workers() -> None:
    rows = several.rows((2,), workers=2, repeats=1, warm_s=1, duration_s=1, tell=lambda _: None)
    assert [(row["gateways"], row["at_once"]) for row in rows] == [(2, 1), (2, 4)]
    assert all(row["equal"] and not row["failed"] and row["rate"] > 0 for row in rows)


def test_tables_and_picture_show_every_row(tmp_path: Path) -> None:
    result = Result("gateway", {}, ROWS, claims.claims(ROWS), [])
    console = Console(record=True, width=150)
    experiment.report(result, console)
    shown = console.export_text()
    assert "15,000" in shown
    assert "floor-asgi" in shown
    assert "5.1 MB" in shown
    pytest.importorskip("matplotlib")
    experiment.plot(result, tmp_path / "gateway.png")
    assert (tmp_path / "gateway.png").stat().st_size > 10_000


def test_large_numbers_are_shown_whole() -> None:
    console = Console(record=True, width=80)
    print_rows(console, "", [{"rate": 15_000.4, "share": 0.12345}], ("rate", "share"))
    assert "15,000" in (shown := console.export_text())
    assert "0.123" in shown


def test_decisions_are_measured_where_functions_stand() -> None:
    rows = {row["standing"]: row for row in decision_rows(functions=400, decisions=800)}
    assert rows["local"]["decisions"] == 399
    assert rows["parked"]["decisions"] == 800
    assert 0 < rows["full"]["decisions"] <= 400
    assert all(0 < row["decision_s"] <= row["decision_s_max"] for row in rows.values())


def test_memory_grows_with_functions() -> None:
    assert 0 < memory_row(20)["memory_bytes"] < memory_row(60)["memory_bytes"]


def test_a_lease_that_ended_leaves_a_worker_that_waits() -> None:
    controller = TimedController(functions=1)
    controller.ask(1, 0)
    assert len(controller.decisions_s) == 1
    controller.ask(2, 0)
    assert len(controller.decisions_s) == 1, "under the lease nothing is decided"
    controller.wait(100.0)
    controller.ask(3, 0)
    assert len(controller.decisions_s) == 2
    assert len(controller.state.context.store.instances) == 1
    controller.state.validate()
