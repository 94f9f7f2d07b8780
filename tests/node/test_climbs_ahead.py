"""A climb that nobody waits for stands back, for cores and disks, until somebody does or it has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from glowplug.core.commands import Climb, Promote, Target
from glowplug.core.events import StepLost, StepReached
from glowplug.core.ids import CommandId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.core.specs import FunctionSpec
from glowplug.loader.io_priority import AS_NICE, IDLE, LOWEST, PATIENCE_S, io_priority
from glowplug.node.standing_back import StandingBack

from .conftest import NODE, WAIT_S, NodeUnderTest
from .slow import Door, slow_model

pytestmark = pytest.mark.e2e

_LOOK_S = 0.01


class Classes:
    """The kernel's groups by class, as the agent noted them."""

    def __init__(self, state: Path) -> None:
        noted = state / "cgroups"
        self._prefixes = noted.read_text().splitlines() if noted.exists() else []

    def members(self, rank: Priority) -> set[str]:
        found: set[str] = set()
        for prefix in self._prefixes:
            for path in Path(f"{prefix}class-{int(rank)}").glob("*/cgroup.procs"):
                found.update(path.read_text().split())
        return found

    def weights(self) -> list[str]:
        return [
            path.read_text()
            for prefix in self._prefixes
            for name in ("cpu.shares", "cpu.weight")
            if (path := Path(f"{prefix}class-{int(Priority.BACKGROUND)}") / name).exists()
        ]


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not check():
            await asyncio.sleep(_LOOK_S)


async def built(node: NodeUnderTest, folder: Path, spec: FunctionSpec, door: Door) -> Classes:
    """The function of the slow model, whose build and whose probe wait at the door."""
    classes = Classes(folder / "state")
    if not classes.members(Priority.INTERACTIVE):
        pytest.skip("this machine has no control groups for us")
    building = asyncio.create_task(node.build(spec))
    await door.let_in()
    await door.let_in()
    await building
    return classes


def climb_of(spec: FunctionSpec, number: int, priority: Priority) -> Climb:
    target = Target("instance", NODE, str(number))
    return Climb(
        CommandId(1000 + number), target, Step.PARKED, spec, origin=Step.IMPORTED, prime=True,
        priority=priority,
    )  # fmt: skip


@pytest.mark.parametrize("end", ["promoted", "reached", "given up"])
def test_a_climb_ahead_is_of_the_background_class(
    on_node: Callable[..., None], node_folder: Path, end: Literal["promoted", "reached", "given up"]
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with slow_model(node, node_folder) as (spec, door):
            classes = await built(node, node_folder, spec, door)
            climb = climb_of(spec, 1, Priority.BACKGROUND)
            node.engine.submit(climb)
            _, writer = await door.visitor()
            await until(lambda: len(classes.members(Priority.BACKGROUND)) == 1)
            before = classes.weights()
            (pid,) = classes.members(Priority.BACKGROUND)
            assert io_priority(int(pid)) == IDLE
            if end == "given up":
                assert isinstance(await node.descend("instance", "1", Step.STAGED), StepLost)
                assert classes.weights() == before
                return
            if end == "promoted":
                node.engine.submit(Promote(CommandId(2000), climb.id, Priority.INTERACTIVE))
                await until(lambda: pid in classes.members(Priority.INTERACTIVE))
                assert io_priority(int(pid)) == AS_NICE
            writer.write(b"\n")
            reached = await node.until(lambda e: isinstance(e, StepReached) and e.command == climb.id)
            assert isinstance(reached, StepReached)
            assert reached.cpu_s is not None
            assert 0 < reached.cpu_s < reached.took_s, "it waited at the door"
            await until(lambda: pid in classes.members(Priority.INTERACTIVE))
            assert not classes.members(Priority.BACKGROUND)
            assert io_priority(int(pid)) == AS_NICE

    on_node(scenario)


def test_who_is_forked_from_what_climbed_ahead_is_to_the_disk_as_any(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with slow_model(node, node_folder) as (spec, door):
            classes = await built(node, node_folder, spec, door)
            before = classes.members(Priority.INTERACTIVE)
            target = Target("version", NODE, spec.version)
            ahead = Climb(CommandId(1000), target, Step.STAGED, spec, priority=Priority.BACKGROUND)
            node.engine.submit(ahead)
            _, writer = await door.visitor()
            await until(lambda: len(classes.members(Priority.BACKGROUND)) == 1)
            (zygote,) = classes.members(Priority.BACKGROUND)
            assert io_priority(int(zygote)) == IDLE
            writer.write(b"\n")
            await node.until(lambda e: isinstance(e, StepReached) and e.command == ahead.id)
            assert isinstance(await node.park(spec, 1, Step.STAGED), StepReached)
            await until(lambda: len(classes.members(Priority.INTERACTIVE) - before) == 2)
            assert {io_priority(int(pid)) for pid in classes.members(Priority.INTERACTIVE)} == {AS_NICE}

    on_node(scenario)


class Sleeper:
    """A process with a thread more than its first and one that it started, which do nothing."""

    CODE = (
        "import subprocess, sys, threading; threading.Thread(target=threading.Event().wait).start();"
        "child = subprocess.Popen(['sleep', '1000']); print(child.pid, flush=True)"
    )

    def __init__(self) -> None:
        command = [sys.executable, "-c", self.CODE]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.popen.stdout is not None
        self.child = int(self.popen.stdout.readline())

    def to_the_disk(self) -> set[int]:
        threads = [int(task.name) for task in Path(f"/proc/{self.popen.pid}/task").iterdir()]
        assert len(threads) == 2
        return {io_priority(thread) for thread in (*threads, self.child)}

    def close(self) -> None:
        os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.communicate()


@pytest.mark.parametrize("rank", [0, *Priority])
def test_a_climb_ahead_has_its_share_of_the_disk_when_it_takes_long(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(sleeper: Sleeper) -> None:
        timers: list[tuple[float, Callable[[], None]]] = []

        def call_later(delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
            timers.append((delay_s, partial(call, *arguments)))

        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
        standing_back = StandingBack(None, lambda *_: None)
        process: Any = SimpleNamespace(pid=0, exited=False)
        held: Any = SimpleNamespace(process=process, seat=None, ahead=None, leaves_disk=False)
        standing_back.leave_disk(held, SimpleNamespace(priority=rank))  # type: ignore[arg-type]
        process.pid = sleeper.popen.pid
        standing_back.born(held)
        if rank > Priority.BACKGROUND:
            assert (sleeper.to_the_disk(), timers) == ({AS_NICE}, [])
            return
        assert sleeper.to_the_disk() == {IDLE}
        ((delay_s, timer),) = timers
        assert delay_s == PATIENCE_S
        timer()
        assert sleeper.to_the_disk() == {LOWEST}
        standing_back.come_forward(held)
        assert sleeper.to_the_disk() == {AS_NICE}
        timer()
        assert sleeper.to_the_disk() == {AS_NICE}, "it has climbed by then"

    sleeper = Sleeper()
    try:
        asyncio.run(scenario(sleeper))
    finally:
        sleeper.close()


def test_a_climb_ahead_takes_along_nobody_who_serves(on_node: Callable[..., None], node_folder: Path) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with slow_model(node, node_folder) as (spec, door):
            classes = await built(node, node_folder, spec, door)
            climbs = [climb_of(spec, 1, Priority.INTERACTIVE), climb_of(spec, 2, Priority.BACKGROUND)]
            node.engine.submit(climbs[0])
            await door.let_in()
            await node.until(lambda e: isinstance(e, StepReached) and e.command == climbs[0].id)
            serving = classes.members(Priority.INTERACTIVE)
            node.engine.submit(climbs[1])
            await door.visitor()
            await until(lambda: bool(classes.members(Priority.BACKGROUND)))
            assert isinstance(await node.descend("instance", "2", Step.STAGED), StepLost)
            assert serving <= classes.members(Priority.INTERACTIVE)

    on_node(scenario)
