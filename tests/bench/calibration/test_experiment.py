"""Experiment `calibration`: what predictors say is what comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glowplug.bench.calibration import experiment
from glowplug.bench.calibration.experiment import Options, calibration, plot, run
from glowplug.bench.calibration.plot import draw_reliability
from glowplug.policy.predictors.choice import MODELS
from glowplug.sim.workloads.registry import make_trace


def rows_of(text: str, every_s: float = 29.0) -> dict[tuple[float, str], dict[str, Any]]:
    found = calibration(make_trace(text, 3), (4.0, 60.0), every_s)
    return {(row["horizon_s"], row["predictor"]): row for row in found}


@pytest.mark.parametrize(
    "text",
    [
        "poisson:functions=100,rate_per_min=100,minutes=120,s=0.6",
        "timers:functions=100,rate_per_min=30,minutes=120,jitter_s=20",
    ],
)
def test_the_choice_is_calibrated_and_as_good_as_the_best(text: str) -> None:
    rows = rows_of(text)
    for horizon_s in (4.0, 60.0):
        choice = rows[horizon_s, "choice"]
        best = min(rows[horizon_s, name]["log_loss"] for name in MODELS)
        assert choice["calibration_error"] < 0.04
        assert choice["log_loss"] < 1.12 * best
        assert choice["log_loss"] < rows[horizon_s, "constant"]["log_loss"]


def test_sums_add_up() -> None:
    rows = rows_of("bursty:functions=20,rate_per_min=20,minutes=30")
    for row in rows.values():
        parts = row["parts"]
        assert sum(part["predictions"] for part in parts) == row["predictions"]
        came = sum(part["predictions"] * part["came"] for part in parts) / row["predictions"]
        assert came == pytest.approx(row["came"])
    assert len({row["came"] for (h, _), row in rows.items() if h == 60.0}) == 1
    assert rows[4.0, "constant"]["calibration_error"] < 1e-9


def test_a_quick_run_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the plots extra: pip install 'glowplug[plots]'")
    result = run(Options(quick=True))
    assert {row["predictor"] for row in result.rows} >= {"choice", "poisson", "constant"}
    plot(result, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_without_recorded_traces_drawn_ones_are_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "DRAWN", {"poisson": "poisson:functions=5,minutes=5"})
    monkeypatch.setenv("GLOWPLUG_TRACES", str(tmp_path))
    result = run(Options())
    assert {row["trace"] for row in result.rows} == {"poisson"}
    assert "--set path=FOLDER" in result.missing[0]


def test_axes_say_what_they_are(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the plots extra: pip install 'glowplug[plots]'")
    part = {"said": 0.5, "came": 0.4, "predictions": 9}
    row = {"trace": "mix", "horizon_s": 4.0, "seed": 1, "predictor": "poisson", "predictions": 9}
    draw_reliability([{**row, "parts": [part]}], ["poisson"], tmp_path / "c.svg")
    drawn = (tmp_path / "c.svg").read_text()
    assert "chance that was said" in drawn
    assert "<!-- share that came -->" in drawn
