"""The live part of `scheduling`: its apps, its claims, and the twin of a run."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path
from typing import Any

import pytest

from glowplug.bench.live import models
from glowplug.bench.live.models import FUNCTIONS, Served, write_apps
from glowplug.bench.live.twin import read_run, simulate
from glowplug.bench.scheduling import live as live_part
from glowplug.bench.scheduling.live import LiveOptions, claims, missing
from glowplug.core.devices import Host, parse_devices
from glowplug.sim.workloads.registry import make_trace
from tests.control.test_explaining import CARD, OTHER, asks, journal, node, on_device, simulated


def row(
    scheduling: str, seconds: list[float], simulated: list[float] | None = None, **more: int
) -> dict[str, Any]:
    return {"scheduling": scheduling, "seconds": seconds, "simulated_seconds": simulated or seconds,
            "wrong": 0, "lost": 0, "over_budget": 0, **more}  # fmt: skip


def verdicts(rows: list[dict[str, Any]]) -> dict[str, bool]:
    return {each.name: each.holds for each in claims(rows)}


def test_three_devices_hold_four_models() -> None:
    options = LiveOptions()
    found = parse_devices(options.devices, Host((0,), {}, 1))
    assert [each.capacity_bytes // options.device_bytes for each in found] == [2, 1, 1]
    assert {each.run_s for each in found} == {0.06}


def test_without_the_trace_calls_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOWPLUG_TRACES", str(tmp_path / "nowhere"))
    options = LiveOptions()
    assert any("nowhere" in words for words in missing(options))
    trace = make_trace(options.workload, 1)
    assert len(trace.times_s) >= 1000
    assert set(trace.function.tolist()) == set(range(FUNCTIONS))


def test_claims_compare_policies_and_the_run_with_its_twin() -> None:
    good = [row("lb", [1.4] * 2000), row("finish-first", [1.0] * 2000, [1.1] * 2000)]
    assert all(verdicts(good).values())
    slow = verdicts([row("lb", [1.2] * 2000), row("finish-first", [1.0] * 2000, [1.3] * 2000)])
    assert [name for name, holds in slow.items() if not holds] == [
        "live: mean of lb over ours", "live and simulated: mean apart", "live and simulated: p95 apart",
    ]  # fmt: skip
    few = verdicts([row("lb", [1.4], wrong=1), row("finish-first", [1.0], lost=1, over_budget=1)])
    assert [name for name, holds in few.items() if not holds] == [
        "live: wrong answers", "live: requests lost", "live: samples over a budget",
        "live and simulated: requests compared",
    ]  # fmt: skip


def test_a_right_answer_is_right_to_the_last_bits() -> None:
    served = Served("f", ({}, {}), ([1.0, 2.0], 3.0))
    assert served.is_right(0, [1.0, 2.0 + 1e-6])
    assert not served.is_right(0, [1.0, 2.1])
    assert not served.is_right(1, [1.0, 2.0])


@pytest.mark.torch
def test_every_model_is_told_that_it_computes_on_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="pip install 'glowplug[torch]'")
    monkeypatch.setattr(models, "lacking", lambda: ["something"])
    (source,), served = write_apps(tmp_path, LiveOptions(device_bytes=900).declared, 10**6, 2 * 10**6, seed=1)
    text = source.read_text()
    ast.parse(text)
    assert 'declare = app.model(device="gpu", device_memory=900' in text
    assert len(served) == FUNCTIONS
    assert all(len(each.requests) == len(each.answers) == 3 for each in served)
    monkeypatch.setattr(live_part, "lacking", lambda: ["something"])
    assert "something" in missing(LiveOptions())[0]


def test_the_twin_of_a_run_is_that_run(tmp_path: Path) -> None:
    calls = [(1.0 + 0.13 * k, "fghi"[k // 9 % 4]) for k in range(200)]
    cards = node((CARD, 800), (OTHER, 400))
    run = simulated([cards, *((0.0, on_device(name)) for name in "fghi"), *asks(*calls)])
    for number, segment in enumerate(journal(run, cut=300), start=1):
        (tmp_path / f"journal-{number:08d}.gpj").write_bytes(segment)
    found = read_run(tmp_path)
    assert found.loads > 5
    again = [answer.latency_s for answer in simulate(found)]
    live = [answer.latency_s for answer in run.answers]
    assert len(again) == len(live) == 200
    assert statistics.mean(again) == pytest.approx(statistics.mean(live), rel=1e-6)


def test_a_journal_without_its_beginning_has_no_twin(tmp_path: Path) -> None:
    run = simulated([node((CARD, 1000)), (0.0, on_device("f")), *asks((1.0, "f"))])
    _, second = journal(run, cut=3)
    with pytest.raises(ValueError, match="no journal"):
        read_run(tmp_path)
    (tmp_path / "journal-00000002.gpj").write_bytes(second)
    with pytest.raises(ValueError, match="beginning is not kept"):
        read_run(tmp_path)
