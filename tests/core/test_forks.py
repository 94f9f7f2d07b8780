"""A fork ends as its run says, tells why, and runs nothing of what it was forked from."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKS = """
import atexit, os
from glowplug.core.forks import run_and_exit

def run():
    print("it ran")
    {line}

parent = os.getpid()
atexit.register(lambda: os.getpid() == parent or print("an exit handler of its parent's"))
child = os.fork()
if child == 0:
    run_and_exit(run)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("line", "status", "told"),
    [
        ("return 0", 0, ""),
        ("return 3", 3, ""),
        ("raise OSError('the disk is full')", 1, "OSError: the disk is full"),
        ("raise SystemExit(0)", 1, "SystemExit: 0"),
        ("raise KeyboardInterrupt", 1, ""),
        ("import sys; sys.stderr.close(); raise OSError('the disk is full')", 1, "OSError: the disk is full"),
    ],
)
def test_a_fork_ends_as_its_run_says(line: str, status: int, told: str) -> None:
    command = [sys.executable, "-c", FORKS.format(line=line)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == f"it ran\n{status}\n"
    assert done.stderr.strip().endswith(told)
    assert bool(told) == bool(done.stderr)
