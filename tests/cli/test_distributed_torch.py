"""`glowplug distributed run FILE:NAME`: a torch model from the words to the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glowplug.cli.distributed_found import found_in
from glowplug.cli.distributed_run import run
from glowplug.core.errors import GlowplugError

pytestmark = [pytest.mark.e2e, pytest.mark.torch]

NET = """import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, hidden):
        return hidden + self.down(torch.relu(self.up(hidden)))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks, self.head = nn.Sequential(*(Block() for _ in range(6))), nn.Linear(32, 2)

    def forward(self, x):
        return {"logits": self.head(self.blocks(x))}

def build():
    torch.manual_seed(0)
    return Net()

def example():
    return torch.ones(4, 32)

def batch():
    return [torch.full((4, 32), float(n)) for n in range(3)]

def none():
    return []

def wrong():
    return torch.ones(3, 3)

def flaky():
    return Flaky()

def single():
    return nn.Sequential(nn.Linear(32, 32))

def shifting():
    return Shifting()

class Shifting(Net):
    def forward(self, x):
        return super().forward(x.add_(1))

class Flaky(Net):
    def forward(self, x):
        return super().forward(x + torch.rand(()))
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "run_net.py"
    path.write_text(NET)
    return path


def glowplug(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glowplug", "distributed", "run", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_what_the_planner_chooses_is_run_beside_its_prediction(net: Path) -> None:
    words = [f"{net}:build", "--workers", "2", "--objective", "fastest", "--check", "--json"]
    done = glowplug(*words, "--samples", "8", "--inputs", "batch")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["equal"], found["samples"], found["invocations"]) == (True, 8, 2)
    told = found["predicted"]
    assert (told["workers"], told["channel"]) == (2, "shared_memory")
    assert told["calls"]["predicted"] == told["calls"]["metered"] == found["meter"]["messages_sent"] > 0


def test_a_model_that_works_in_place_is_surveyed_on_what_it_is_given(net: Path) -> None:
    found = found_in(f"{net}:shifting", "example")
    first, second = found.answer(), found.answer()
    assert (first["logits"] == second["logits"]).all()


def test_people_see_how_far_a_given_pipeline_was_off(net: Path, tmp_path: Path) -> None:
    """Of a model that lies elsewhere than the file."""
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    store.mkdir()
    elsewhere.mkdir()
    net = net.rename(elsewhere / net.name)
    (tmp_path / "file.py").write_text(
        f"import sys\nsys.path.append({str(elsewhere)!r})\nfrom run_net import build, example\n"
    )
    model = f"{tmp_path / 'file.py'}:build"
    words = [model, "--plan", "pipeline", "--workers", "2", "--samples", "6", "--check"]
    done = glowplug(*words, "--channel", "object", "--option", f"url=file://{store}")
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "6 samples, equal to one worker" in shown
    assert "predicted for pipeline 2 object: " in shown
    assert not [path for path in store.rglob("*") if path.is_file()]


def test_what_is_not_equal_is_said(net: Path) -> None:
    """A model that draws numbers answers otherwise each time."""
    words = [
        f"{net}:flaky",
        "--plan",
        "hybrid",
        "--workers",
        "4",
        "--samples",
        "4",
        "--check",
        "--no-predict",
    ]
    done = glowplug(*words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["equal"], found["predicted"], found["invocations"]) == (False, None, 4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--memory", "1MB"], "part_too_large worker 0 needs"),
        (["--deadline", "20ms"], "deadline_passed the run took longer than 0.02 s"),
    ],
)
def test_what_ends_a_run_is_said(net: Path, words: list[str], said: str) -> None:
    done = glowplug(f"{net}:build", "--plan", "serial", "--no-predict", *words)
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("build", {"plan": "rows"}, "whose rows could be spread: its input is used 2 times"),
        ("build", {"on": "lambda"}, "functions of Lambda run sparse networks, not torch models"),
        ("build", {"plan": "pipeline", "workers": (70,)}, "need a chain of at least 70 modules"),
        ("single", {"plan": "pipeline", "workers": (2,)}, "the longest here has 1"),
        ("build", {"plan": "hybrid", "workers": (5,)}, "5 workers make no such groups"),
        ("build", {"plan": "hybrid", "workers": (2,)}, "2 workers make no pipeline of two"),
        ("build", {"plan": "pipeline", "workers": (1,)}, "1 workers make no pipeline of two"),
        ("build", {"plan": "replicas", "samples": 3}, "3 samples cannot be split over 4"),
        ("build", {"plan": "serial", "example": "nothing"}, "has no callable 'nothing'"),
        ("build", {"plan": "serial", "example": "wrong"}, r"cannot run on what wrong\(\) returns"),
        ("build", {"inputs": "none"}, r"none\(\) returns no list of inputs"),
        ("example", {}, "returns Tensor, and no torch.nn.Module"),
        ("build", {"plan": "serial", "micro_batches": 3}, "--micro-batches: that is for sparse networks"),
        ("build", {"plan": "serial", "channel": ("pigeons",)}, "no channel 'pigeons'"),
        ("build", {"budget": 1e-12, "workers": (1,)}, "the fastest, serial"),
    ],
)
def test_what_makes_no_sense_is_said(net: Path, name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(GlowplugError, match=said):
        run(f"{net}:{name}", **options)
