"""What is not installed is told with the line that installs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from glowplug.cli.extras import not_installed

WITHOUT = """import sys
sys.modules["zstandard"] = None
sys.argv = ["glowplug", "distributed", "run", "sparse:1024x4", "--plan", "rows", "--workers", "2"]
from glowplug.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("zstandard", "pip install 'glowplug[distributed]'"),
        ("nats.aio.client", "nats-py, which is not installed: pip install 'glowplug[distributed]'"),
        ("obstore", "pip install 'glowplug[stores]'"),
        ("torch.nn", "pip install 'glowplug[torch]'"),
        ("somebody_elses", "pip install somebody_elses"),
    ],
)
def test_the_line_is_that_of_the_smallest_extra(module: str, line: str) -> None:
    assert line in not_installed(module).message


@pytest.mark.e2e
def test_a_command_without_its_extra_fails_with_the_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "pip install 'glowplug[distributed]'" in " ".join(done.stderr.split())
