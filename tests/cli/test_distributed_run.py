"""`glowplug distributed run`: from the words to the answer."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
pytest.importorskip("sklearn", reason="pip install scikit-learn")
pytest.importorskip("numba", reason="pip install 'glowplug[distributed]'")


def glowplug(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glowplug", "distributed", "run", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_run_tells_what_it_took(tmp_path: Path) -> None:
    words = ["sparse:1024x6", "--plan", "rows", "--workers", "2", "--samples", "20", "--method", "block"]
    done = glowplug(*words, "--check", "--json", "--no-predict", "--cache", str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["equal"] is True
    assert found["invocations"] == 2
    assert found["rows_sent"] > 0
    assert len(found["workers"]) == 2
    assert found["predicted"] is None


def test_what_the_planner_chooses_is_run_beside_its_prediction(tmp_path: Path) -> None:
    words = ["sparse:1024x6", "--workers", "2", "--samples", "20", "--method", "block", "--check", "--json"]
    done = glowplug(*words, "--objective", "fastest", "--cache", str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["equal"] is True
    told = found["predicted"]
    assert (told["workers"], told["channel"], told["delays"]) == (2, "shared_memory", "hop-100ms")
    assert told["calls"]["predicted"] == told["calls"]["metered"] == found["meter"]["messages_sent"]
    assert [told[name]["comparable"] for name in ("calls", "nbytes", "seconds", "usd")] == [True] + 3 * [
        False
    ]
    assert len(told["why"]) == 2


def test_people_see_how_far_a_given_plan_was_off(tmp_path: Path) -> None:
    words = ["sparse:1024x12", "--plan", "rows", "--workers", "3", "--samples", "60", "--method", "block"]
    done = glowplug(*words, "--channel", "object", "--option", f"url=file://{tmp_path}")
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert re.search(r"predicted for rows 3 object: \d+ calls \(metered \d+ calls\), ", shown)
    assert re.search(r"B \(metered \d+ kB, [+-]\d\.\d%\)", shown)  # bytes, less than a tenth off
    assert "not comparable: seconds and dollars are predicted for functions of 1769 MiB" in shown


@pytest.mark.torch
def test_the_rows_of_a_sparse_torch_model_are_spread(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="pip install 'glowplug[torch]'")
    (tmp_path / "pruned_net.py").write_text(PRUNED)
    words = [f"{tmp_path}/pruned_net.py:build", "--example", "rows", "--samples", "20", "--method", "block"]
    done = glowplug(*words, "--plan", "rows", "--workers", "3", "--check", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["equal"] is True
    assert found["rows_sent"] > 0
    assert found["predicted"]["calls"]["predicted"] == found["meter"]["messages_sent"]


PRUNED = """import torch
from torch import nn
from torch.nn.utils import prune

def build():
    layers = [nn.Linear(48, 64), nn.Linear(64, 64), nn.Linear(64, 8)]
    for layer in layers:
        prune.random_unstructured(layer, "weight", 0.85)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU6(), layers[2])

def rows():
    return torch.rand(7, 48)
"""


def test_rows_go_through_the_root_where_that_is_asked_for() -> None:
    words = ["sparse:1024x6", "--plan", "rows", "--workers", "12", "--samples", "20", "--method", "block"]
    done = glowplug(*words, "--relayed", "--check", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["equal"] is True
    calls = found["predicted"]["calls"]
    assert calls["predicted"] == calls["metered"] == 5 * 2 * 11 + 11


def test_of_a_claim_check_nothing_is_predicted(tmp_path: Path) -> None:
    words = ["sparse:1024x4", "--plan", "pipeline", "--workers", "2", "--samples", "10", "--json"]
    (tmp_path / "claims").mkdir()
    done = glowplug(*words, "--option", f"claims=file://{tmp_path}/claims")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predicted"] is None


@pytest.mark.parametrize("ignores", [False, True])
def test_a_run_ends_with_its_terminal_and_leaves_nothing_unless_it_ignores_that(
    tmp_path: Path, ignores: bool
) -> None:
    store, samples = tmp_path / "store", "20" if ignores else "20000"
    store.mkdir()
    words = ["sparse:1024x24", "--plan", "rows", "--workers", "2", "--samples", samples, "--method", "block"]
    program = "import signal; from glowplug.cli import main; "
    program += f"signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if ignores else 'SIG_DFL'}); main()"
    command = [sys.executable, "-c", program, "distributed", "run", *words, "--no-predict"]
    where = ["--channel", "object", "--option", f"url=file://{store}"]
    with subprocess.Popen([*command, *where], stdout=subprocess.DEVNULL) as running:
        while not list(store.rglob("open")):
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGHUP)
        assert running.wait(120) == (0 if ignores else 130)
    assert [path for path in store.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sparse:1024x4", "--plan", "hybrid", "--workers", "5"], "5 workers make no such groups"),
        (["sparse:1024x4", "--option", "x"], "write NAME=VALUE"),
        (["sparse:1024x4", "--replicas", "3"], "--replicas: that belongs to a --plan"),
        (["sparse:1024x4", "--relayed"], "--relayed: that belongs to a --plan"),
        (["sparse:1024x4", "--plan", "serial", "--relayed"], "--relayed: only --plan rows"),
        (["sparse:1024x4", "--channel", "pigeons"], "--channel pigeons: the planner knows queue"),
        (["sparse:1024x4", "--plan", "rows", "--workers", "2", "4"], "--workers: a --plan leaves"),
        (["sparse:1024x4", "--plan", "rows", "--budget", "1"], "--budget: a --plan leaves"),
        (["sparse:1024x4", "--workers", "1", "--budget", "1e-9"], "a budget of $1e-09; the fastest, serial"),
        (["sparse:1024x4", "--plan", "serial", "--channel", "pigeons"], "no channel 'pigeons'"),
        (["sparse:1024x4", "--plan", "pipeline", "--workers", "5"], "5 stages"),
        (["sparse:1024x4", "--plan", "rows", "--workers", "1025"], "the narrowest layer has 1024 rows"),
        (["sparse:1024x4", "--workers", "1025"], "1025 workers cannot each have one of 4 layers"),
        (["sparse:1024x4", "--memory", "lots"], "--memory: 'lots' is not a size"),
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--channel", "object"], "--option url=s3://BUCKET/PREFIX"),
        (["--channel", "object", "--option", "url=/somewhere"], "file:///FOLDER"),
        (["--channel", "nats", "--option", "mode=1"], "there is no option mode"),
    ],
)
def test_a_channel_that_cannot_be_made_says_what_to_write(words: list[str], told: str) -> None:
    done = glowplug("sparse:1024x4", "--plan", "rows", "--workers", "2", "--method", "block", *words)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert told in " ".join(done.stderr.split())
