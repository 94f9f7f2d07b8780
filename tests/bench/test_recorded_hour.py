"""The recorded hour is looked for in one place, and what cannot run without it says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glowplug.bench.calibration import experiment as calibration
from glowplug.bench.preloading import experiment as preloading
from glowplug.bench.preloading import live as preloading_live
from glowplug.bench.recorded_hour import hour_path, no_hour
from glowplug.bench.registry import run
from glowplug.bench.scheduling import live as scheduling_live
from glowplug.bench.scheduling import options as scheduling_options

ORIGIN = "Azure/AzurePublicDataset on GitHub"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of traces in which there is none."""
    monkeypatch.setenv("GLOWPLUG_TRACES", str(tmp_path))
    return tmp_path


def test_every_experiment_looks_in_the_same_folder(nowhere: Path) -> None:
    assert {
        preloading.Options().path,
        calibration.Options().path,
        preloading_live.LiveOptions().trace,
        scheduling_live.LiveOptions().trace,
        scheduling_options.Options().traces,
    } == {str(nowhere / "azure2019_1h_1000fn")}


def test_it_is_looked_for_in_the_working_folder_unless_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLOWPLUG_TRACES", raising=False)
    monkeypatch.chdir(tmp_path)
    assert hour_path() == "traces/azure2019_1h_1000fn"
    assert ORIGIN in (no_hour(hour_path(), "path") or "")
    Path(hour_path()).mkdir(parents=True)
    assert no_hour(hour_path(), "path") is None


@pytest.mark.parametrize(
    ("experiment", "settings"),
    [
        ("preloading", ["parts=mix"]),
        ("preloading", ["parts=lent,hour"]),
        ("calibration", ["path=elsewhere"]),
        ("scheduling", ["traces=elsewhere"]),
    ],
)
def test_what_was_asked_for_and_needs_it_is_refused(
    experiment: str, settings: list[str], nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = nowhere / "out.json"
    assert run(experiment, settings=settings, json=out) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert ORIGIN in told
    assert "FOLDER, or have GLOWPLUG_TRACES name" in told
    assert not out.exists()


def test_the_small_version_is_nothing_but_the_hour(nowhere: Path) -> None:
    assert run("preloading", quick=True) == 2


def test_of_all_parts_those_that_need_it_are_listed(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"part": "lent", "wrong": 0, "failed": 0, "cases": 1}
    rows: list[dict[str, Any]] = [row]
    monkeypatch.setattr(preloading, "_lent", lambda options, tell: rows if "lent" in options.parts else [])
    monkeypatch.setattr(preloading.owners, "claims", lambda rows: [])
    out = nowhere / "out.json"
    assert run("preloading", json=out) == 0
    found = json.loads(out.read_bytes())
    assert [each["part"] for each in found["rows"]] == ["lent"]
    assert found["missing"][0].startswith(
        "parts table, nodes, mix, hour, jitter, plain, cpu, zygote, shared, wide, devices, live:"
    )
    assert ORIGIN in found["missing"][0]
