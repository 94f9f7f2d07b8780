"""What the page of an example says to run can be run as it stands there."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import WAIT_S, Server

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

ROOT = Path(__file__).parents[2]


def commands(source: Path) -> list[list[str]]:
    """Those of the docstring, but for the one that serves it."""
    lines = (ast.get_docstring(ast.parse(source.read_text())) or "").splitlines()
    found = [shlex.split(line) for line in lines if line.startswith(("glowplug ", "python ", "curl "))]
    return [words for words in found if words[:2] != ["glowplug", "serve"]]


@pytest.mark.parametrize("name", ["hello", "streaming", "jobs"])
def test_the_commands_of_a_page(server: Server, name: str) -> None:
    source = ROOT / "examples" / f"{name}.py"
    server.deploy(source)
    told = [words for words in commands(source) if words[0] != "curl"]
    assert told
    for words in told:
        command = {"glowplug": [sys.executable, "-m", "glowplug"], "python": [sys.executable]}[words[0]]
        env = {**os.environ, "GLOWPLUG_URL": server.url}
        done = subprocess.run(
            [*command, *words[1:]],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
