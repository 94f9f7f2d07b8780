"""A climb that nobody waits for stands back for the processor, until somebody does or it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from glowplug.core.commands import Climb, Promote, Target
from glowplug.core.events import StepLost, StepReached
from glowplug.core.ids import CommandId
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.core.specs import FunctionSpec

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
            if end == "given up":
                assert isinstance(await node.descend("instance", "1", Step.STAGED), StepLost)
                assert classes.weights() == before
                return
            if end == "promoted":
                node.engine.submit(Promote(CommandId(2000), climb.id, Priority.INTERACTIVE))
                await until(lambda: pid in classes.members(Priority.INTERACTIVE))
            writer.write(b"\n")
            reached = await node.until(lambda e: isinstance(e, StepReached) and e.command == climb.id)
            assert isinstance(reached, StepReached)
            assert reached.cpu_s is not None
            assert 0 < reached.cpu_s < reached.took_s, "it waited at the door"
            await until(lambda: pid in classes.members(Priority.INTERACTIVE))
            assert not classes.members(Priority.BACKGROUND)

    on_node(scenario)


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
