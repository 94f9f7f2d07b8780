"""Whom the agent takes for a child of a zygote, and what becomes of a zygote that has none."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from glowplug.node import processes, wire
from glowplug.node.isolation.seats import Seat
from glowplug.node.messages import Fork
from glowplug.node.processes import Process
from glowplug.node.reports import child_of
from tests.transport.conftest import open_descriptors

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


@pytest.mark.parametrize(
    "words", [b"\x82\xa4type\xa6Failed\xa4code\xa1\xff", b"\x82\xa4type\xa5LetGo\xa1x" + b"\x91" * 60_000],
    ids=["no text", "nested without end"],
)  # fmt: skip
@pytest.mark.parametrize("is_over", [False, True])
def test_whoever_says_what_cannot_be_read_ends_and_leaves_nothing_open(words: bytes, is_over: bool) -> None:
    """Also when it says so with its last breath."""

    async def scenario() -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()
        before = open_descriptors()
        ours, theirs = wire.socket_pair()
        ignore = lambda *_: None  # noqa: E731
        hostile = Process("hostile", ours, ignore, lambda process, why, code: ended.put_nowait(why), ignore)
        with theirs, subprocess.Popen(["sleep", "1000"]) as running:
            hostile.born(running.pid, os.pidfd_open(running.pid))
            for _ in range(3):
                socket.send_fds(theirs, [words], [theirs.fileno()])
            try:
                if is_over:
                    hostile.never_born("it ended")
                async with asyncio.timeout(60):
                    await ended.get()
            finally:
                running.kill()
        assert hostile.exited
        async with asyncio.timeout(60):  # a thread closes what strangers sent
            while open_descriptors() > before:
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_a_child_of_whom_its_zygote_says_that_it_ended_has() -> None:
    async def scenario() -> None:
        ended: asyncio.Queue[int | None] = asyncio.Queue()
        ignore = lambda *_: None  # noqa: E731

        def made(on_exit: Any) -> tuple[Process, Any]:
            ours, theirs = wire.socket_pair()
            return Process("a process", ours, ignore, on_exit, ignore), theirs

        (zygote, its_end), (child, other_end) = made(ignore), made(lambda *told: ended.put_nowait(told[2]))
        with its_end, other_end, subprocess.Popen(["sleep", "1000"]) as living:
            child.born(living.pid, os.pidfd_open(living.pid))
            zygote.children[living.pid] = child
            zygote.child_exited(living.pid, 0)
            assert await ended.get() == 0
            try:
                assert await asyncio.to_thread(living.wait, 60) == -signal.SIGKILL
            finally:
                living.kill()
        zygote.never_born("the test is over")

    asyncio.run(scenario())


def test_a_zygote_that_does_not_fork_ends_with_the_child_that_nobody_wants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_BIRTH_S", 0.0)

    async def scenario() -> None:
        ended: asyncio.Queue[str] = asyncio.Queue()

        def made(name: str) -> tuple[Process, Any]:
            ours, theirs = wire.socket_pair()
            return Process(
                name,
                ours,
                lambda *_: None,
                lambda process, *_: ended.put_nowait(process.name),
                lambda *_: None,
            ), theirs

        (zygote, its_end), (child, other_end) = made("zygote"), made("child")
        with its_end, other_end, subprocess.Popen(["sleep", "1000"]) as deaf:
            zygote.born(deaf.pid, os.pidfd_open(deaf.pid))
            assert zygote.fork(Fork("worker", "f", "v"), child, ())
            child.kill()
            async with asyncio.timeout(60):
                assert {await ended.get(), await ended.get()} == {"zygote", "child"}

    asyncio.run(scenario())
