"""A program may end while its model still loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TIMES = 3
PROGRAM = """
import os, sys
import torch
from glowplug import loader

def build():
    return torch.nn.Sequential(*(torch.nn.Linear(2048, 2048) for _ in range(12)))

if sys.argv[2] == "pack":
    loader.pack(build(), torch.zeros(1, 2048), sys.argv[1])
else:
    for _ in range(int(sys.argv[3])):
        child = os.fork()
        if not child:
            break
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            sys.exit("a program did not end well")
    else:
        sys.exit()
    model = loader.load(sys.argv[1], strategy=sys.argv[2], build=build)
    print("loaded")
"""
"""Libraries are imported once; each of the programs is a fork that ends as any does."""


def run(path: Path, what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), what, str(TIMES)],
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
    ended = run(pack, strategy)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, TIMES * "loaded\n", "")
