"""Whom the agent takes for a child of a zygote."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from glowplug.node.isolation.seats import Seat
from glowplug.node.reports import child_of

OWNER = 1_000_123


def seat(owner: int | None) -> Seat:
    return Seat("version f-1", "e", 5, owner, Path("/nonexistent"))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: a process changes its user")
def test_one_that_is_of_a_user_of_its_zygote_and_others() -> None:
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setresuid(OWNER, OWNER, OWNER)
        os.write(go, b"x")
        signal.pause()
    handle = os.pidfd_open(pid)
    try:
        os.read(ready, 1)
        assert child_of(handle, pid, seat(OWNER)) == "living"
        assert child_of(handle, pid, seat(OWNER + 1)) == "strange"
        assert child_of(handle, os.getpid(), seat(OWNER)) == "strange"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for descriptor in (ready, go, handle):
            os.close(descriptor)


def test_one_that_was_reaped_already() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    handle = os.pidfd_open(pid)
    try:
        os.waitpid(pid, 0)
        assert child_of(handle, pid, seat(None)) == "gone"
        assert child_of(handle, os.getppid(), seat(None)) == "gone"
    finally:
        os.close(handle)
