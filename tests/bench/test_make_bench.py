"""`make bench` in a folder of its own, where another command tells what ours would have been asked for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from glowplug.bench.registry import EXPERIMENTS

MAKEFILE = Path(__file__).parents[2] / "Makefile"
COMMAND = """#!/bin/sh
echo "$@" >> asked
test "$2" = loading && exit 2
touch "out/results/$2.json"
"""

pytestmark = [
    pytest.mark.skipif(shutil.which("make") is None, reason="needs make"),
    pytest.mark.skipif(not MAKEFILE.exists(), reason="needs a checkout"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Everything is installed there, so that nothing is fetched."""
    shutil.copy(MAKEFILE, tmp_path)
    for name in ("pyproject.toml", "constraints.txt", *(f"requirements{each}.txt" for each in (
        "-examples", "-examples-nodeps", "-peers", "-serving", "-mlserver"
    ))):  # fmt: skip
        (tmp_path / name).touch()
    for environment in (".venv", ".venv-peers", ".venv-serving", ".venv-mlserver"):
        (tmp_path / environment / "bin").mkdir(parents=True)
        (tmp_path / environment / ".installed").touch()
    for command in (tmp_path / ".venv/bin/glowplug", tmp_path / "wrk"):
        command.write_text(COMMAND)
        command.chmod(0o755)
    return tmp_path


def make(checkout: Path, *words: str) -> int:
    environment = {"PATH": f"{checkout}:/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(
        ["make", *words], cwd=checkout, env=environment, capture_output=True, timeout=60, check=False
    )
    return done.returncode


def test_one_that_fails_keeps_none_of_the_others(checkout: Path) -> None:
    assert make(checkout, "bench") != 0
    wrote = {path.stem for path in (checkout / "out/results").iterdir()}
    assert wrote == set(EXPERIMENTS) - {"card", "loading"}
    assert not (checkout / "docs").exists(), "published results are replaced by hand"


def test_one_experiment_alone(checkout: Path) -> None:
    assert make(checkout, "bench-calibration") == 0
    asked = (
        "bench calibration --repeats 3 --json out/results/calibration.json --plot out/results/calibration.png"
    )
    assert (checkout / "asked").read_text().split() == asked.split()
