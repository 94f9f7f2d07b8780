"""What measures a build in a fork of itself, and how that may end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from glowplug.node.roles import in_child


def end_of(call: Callable[[], object]) -> int:
    """The exit code of a process that does this and then ends with 0."""
    child = os.fork()
    if child == 0:
        try:
            call()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ended_by(number: int) -> tuple[int, int]:
    os.kill(os.getpid(), number)
    return 0, 0


def test_what_is_measured_comes_back() -> None:
    assert in_child(lambda: (1, 2)) == (1, 2)
    assert in_child(lambda: ended_by(signal.SIGTERM)) is None


@pytest.mark.parametrize("depth", [1, 2])
def test_one_that_was_killed_takes_its_parents_along(depth: int) -> None:
    """So that the agent sees of what it ended: a build is not to be blamed for it."""

    def measure(depth: int) -> tuple[int, int]:
        return in_child(lambda: measure(depth - 1)) or (0, 0) if depth else ended_by(signal.SIGKILL)

    assert end_of(lambda: measure(depth)) == -signal.SIGKILL
