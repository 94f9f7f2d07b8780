"""`glowplug distributed run`: from the words to the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
pytest.importorskip("sklearn", reason="pip install scikit-learn")
pytest.importorskip("numba", reason="pip install 'glowplug[distributed]'")


def glowplug(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glowplug", "distributed", "run", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_run_tells_what_it_took(tmp_path: Path) -> None:
    words = ["sparse:1024x6", "--workers", "2", "--samples", "20", "--method", "block", "--check", "--json"]
    done = glowplug(*words, "--cache", str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["equal"] is True
    assert found["invocations"] == 2
    assert found["rows_sent"] > 0
    assert len(found["workers"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sparse:1024x4", "--plan", "hybrid", "--workers", "5"], "5 workers make no such groups"),
        (["sparse:1024x4", "--option", "x"], "write NAME=VALUE"),
        (["sparse:1024x4", "--plan", "serial", "--channel", "pigeons"], "no channel 'pigeons'"),
        (["sparse:1024x4", "--plan", "pipeline", "--workers", "5"], "5 stages"),
        (["sparse:1024x4", "--on", "lambda"], "--on lambda needs --store"),
        (
            [
                "sparse:1024x4",
                "--on",
                "lambda",
                "--store",
                "file:///tmp",
                "--role",
                "r",
                "--channel",
                "memory",
            ],
            "share no memory",
        ),
    ],
)
def test_what_makes_no_sense_is_said(words: list[str], said: str) -> None:
    done = glowplug(*words, "--method", "block", "--samples", "10")
    assert done.returncode != 0
    assert said in " ".join(done.stderr.split())
