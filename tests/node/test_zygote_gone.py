"""A zygote takes its children along, and its own end is told before theirs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.bench.systems.processes import command_name, descendants
from glowplug.core.commands import Build
from glowplug.core.events import CommandFailed, Event, StepLost
from glowplug.core.ids import CommandId, VersionId
from glowplug.node import wire
from glowplug.node.messages import Fork
from glowplug.node.processes import Process

from .conftest import NODE, WAIT_S, NodeUnderTest
from .slow import slow_model

FORK = Fork("worker", "f", "v")


class Family:
    """A zygote and a child, in processes of their own that this very process started."""

    def __init__(self, stack: ExitStack) -> None:
        self.ends: list[str] = []
        self._stack = stack
        self._over = asyncio.Event()
        self.zygote, self.its_end = self._made("zygote")
        self.child, _ = self._made("child")
        self.zygote_runs = self._born(self.zygote)

    def _made(self, name: str) -> tuple[Process, Any]:
        ours, theirs = wire.socket_pair()
        self._stack.enter_context(theirs)
        return Process(name, ours, self._on_message, self._on_exit, lambda *_: None), theirs

    def _born(self, process: Process) -> subprocess.Popen[bytes]:
        running = self._stack.enter_context(subprocess.Popen(["sleep", "1000"]))
        self._stack.callback(running.kill)
        process.born(running.pid, os.pidfd_open(running.pid))
        return running

    def child_runs(self) -> subprocess.Popen[bytes]:
        """It is forked at once."""
        assert self.zygote.fork(FORK, self.child, ())
        self.zygote.children[0] = self.zygote.pending.popleft()
        return self._born(self.child)

    def _on_message(self, process: Process, message: Any, descriptors: list[int]) -> None:
        wire.close_all(descriptors)

    def _on_exit(self, process: Process, why: str, code: int | None) -> None:
        self.ends.append(process.name)
        if len(self.ends) == 2:
            self._over.set()

    async def over(self) -> list[str]:
        await asyncio.wait_for(self._over.wait(), WAIT_S)
        return self.ends


def told(scenario: Callable[[Family], None]) -> list[str]:
    async def main() -> list[str]:
        with ExitStack() as stack:
            family = Family(stack)
            scenario(family)
            return await family.over()

    return asyncio.run(main())


def killed(*running: subprocess.Popen[bytes]) -> None:
    for each in running:
        each.kill()
        each.wait()


def test_before_a_child_that_it_was_asked_for() -> None:
    def scenario(family: Family) -> None:
        assert family.zygote.fork(FORK, family.child, ())
        killed(family.zygote_runs)

    assert told(scenario) == ["zygote", "child"]


def test_before_a_child_that_it_could_not_be_asked_for_any_more() -> None:
    def scenario(family: Family) -> None:
        family.its_end.close()  # the first of it that its end closes
        assert family.zygote.fork(FORK, family.child, ())

    assert told(scenario) == ["zygote", "child"]


def test_before_a_child_whose_end_was_seen_earlier() -> None:
    def scenario(family: Family) -> None:
        killed(family.child_runs(), family.zygote_runs)

    assert told(scenario) == ["zygote", "child"]


def zygote_of_a_build(agent: int) -> int:
    named = {pid: command_name(pid) for pid in descendants(agent)}
    (building,) = (pid for pid, name in named.items() if name.startswith("build:"))
    (zygote,) = (pid for pid in named if building in descendants(pid) and named[pid] == "glowplug-zygote")
    return zygote


def failed(event: Event) -> bool:
    return isinstance(event, CommandFailed)


@pytest.mark.e2e
def test_before_the_builds_of_its_environment(on_node: Callable[..., None], node_folder: Path) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with slow_model(node, node_folder) as (spec, door):
            node.engine.submit(Build(CommandId(1000), NODE, spec))
            await door.visitor()
            os.kill(zygote_of_a_build(node.engine.agent_pid), signal.SIGKILL)
            other = msgspec.structs.replace(spec, version=VersionId("another"))
            node.engine.submit(Build(CommandId(1001), NODE, other))
            await node.until(lambda event: sum(map(failed, node.events)) == 2)
            kinds = [type(event) for event in node.events]
            assert (kinds.count(StepLost), kinds.index(StepLost) < kinds.index(CommandFailed)) == (1, True)

    on_node(scenario)
