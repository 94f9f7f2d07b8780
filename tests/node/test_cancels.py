"""How the agent asks a worker to stop a request: by signals, for one may be lost, and at last by its end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from glowplug.core.commands import Cancel
from glowplug.core.ids import CommandId, InstanceId, RequestId
from glowplug.node import cancels, wire
from glowplug.node.cancels import Cancels
from glowplug.node.messages import LetGo
from glowplug.node.processes import Process

WAIT_S = 180.0
WORKER = """
import os, signal, socket, sys
from glowplug.node import wire
from glowplug.node.messages import CancelRequest, LetGo
sock, missed = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])

def on_signal(*_):
    global missed
    if missed > 0:
        missed -= 1  # as if it had come just before a system call that waits
        return
    found = wire.Receiver(sock, CancelRequest).receive(socket.MSG_DONTWAIT)
    wire.send(sock, LetGo(found[0].request))

signal.signal(signal.SIGUSR1, on_signal)
wire.send(sock, LetGo(0))
while True:
    signal.pause()
"""


def outcome(missed: int, grace_s: float) -> str:
    """How it ends for a worker that misses so many signals: it lets go of request 7, or is killed."""

    async def scenario() -> str:
        told: asyncio.Queue[Any] = asyncio.Queue()
        ours, theirs = wire.socket_pair()
        command = [sys.executable, "-c", WORKER, str(theirs.fileno()), str(missed)]
        started = subprocess.Popen(command, pass_fds=(theirs.fileno(),))
        theirs.close()
        process = Process(
            "worker", ours, lambda _, message, __: told.put_nowait(message),
            lambda *_: told.put_nowait(None), lambda *_: None,
        )  # fmt: skip
        process.born(started.pid, os.pidfd_open(started.pid))
        try:
            assert await asyncio.wait_for(told.get(), WAIT_S) == LetGo(0), "it has begun"
            asked = Cancels()
            asked.start(Cancel(CommandId(1), RequestId(7), InstanceId(1), grace_s), process)
            found = await asyncio.wait_for(told.get(), WAIT_S)
            asked.spare(1)
            return "killed" if found is None else f"let go of {found.request}"
        finally:
            started.kill()
            started.wait()
            process.never_born("the test is over")

    return asyncio.run(scenario())


@pytest.mark.parametrize("missed", [0, 1])
def test_a_worker_that_missed_a_signal_is_signalled_again(
    missed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each second, and killed only when it would have had time enough on the slowest of machines."""
    monkeypatch.setattr(cancels, "_TIMES", int(WAIT_S))
    assert outcome(missed, grace_s=WAIT_S) == "let go of 7"


def test_a_worker_that_does_not_let_go_is_killed() -> None:
    assert outcome(missed=1000, grace_s=0.1) == "killed"
