"""A program may end while its model still loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import torch
from glowplug import loader

def build():
    return torch.nn.Sequential(*(torch.nn.Linear(2048, 2048) for _ in range(12)))

if sys.argv[2] == "pack":
    loader.pack(build(), torch.zeros(1, 2048), sys.argv[1])
else:
    model = loader.load(sys.argv[1], strategy=sys.argv[2], build=build)
    print("loaded")
"""


def run(path: Path, what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), what],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ends") / "model.pack"
    packed = run(path, "pack")
    assert packed.returncode == 0, packed.stderr
    return path


@pytest.mark.parametrize("strategy", ["decoupled", "cicada", "streamed"])
def test_a_program_that_ends_at_once_ends_well(pack: Path, strategy: str) -> None:
    for _ in range(3):
        ended = run(pack, strategy)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "loaded\n", "")
