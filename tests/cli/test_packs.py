"""`glowplug pack` and `glowplug load`, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the torch extra")

pytestmark = pytest.mark.torch

SOURCE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))

    def forward(self, x):
        return self.layers(x)

def example():
    return torch.zeros(1, 8)

def narrow():
    return torch.zeros(1, 3)

def fails():
    raise RuntimeError("no input today")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(SOURCE)
    return tmp_path


def glowplug(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glowplug", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_model_is_packed_and_loaded_with_its_timeline(folder: Path) -> None:
    packed = glowplug(folder, "pack", "model.py:Net", "net.pack", "--json")
    assert packed.returncode == 0, packed.stderr
    facts = json.loads(packed.stdout)
    assert facts["weights_bytes"] >= 2 * (64 + 8) * 4
    assert facts["tensors"] == 4

    loaded = glowplug(folder, "load", "net.pack", "--timeline", "out.json", "--json")
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["strategy"] == "mapped"
    refused = glowplug(folder, "load", "net.pack", "--timeline", "none/out.json")
    assert refused.returncode == 1
    assert "No such file" in refused.stderr
    assert "Traceback" not in refused.stderr
    events = json.loads((folder / "out.json").read_text())["traceEvents"]
    assert {"build", "fetch", "compute"} <= {event.get("cat") for event in events}


def test_a_baseline_builds_the_model_itself(folder: Path) -> None:
    assert glowplug(folder, "pack", "model.py:Net", "net.pack").returncode == 0
    loaded = glowplug(folder, "load", "net.pack", "--strategy", "pisel", "--build", "model.py:Net")
    assert loaded.returncode == 0, loaded.stderr
    assert "net.pack: pisel" in loaded.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pack", "model.py", "x.pack"), "write FILE:NAME"),
        (("pack", "none.py:Net", "x.pack"), "none.py: there is no such file"),
        (("pack", "model.py:Other", "x.pack"), "model.py has no callable 'Other'"),
        (("pack", "model.py:Net", "x.pack", "--example", "fails"), "no input today"),
        (("pack", "model.py:Net", "x.pack", "--example", "narrow"), "cannot run on what narrow() returns"),
        (("load", "none.pack"), "No such file"),
        (("load", "model.py"), "neither a pack nor a safetensors file"),
        (("load", "ftp://x/y.pack"), "ftp:// is no source"),
        (("load", "model.py", "--strategy", "best"), "no strategy is called 'best'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(
    folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = glowplug(folder, *arguments)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir() if path.suffix != "") == ["model.py"]
