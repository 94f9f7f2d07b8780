"""A build that the controller gives up, in each of its processes, and the next one of the same version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.commands import Build
from glowplug.core.events import Built, StepLost
from glowplug.core.ids import CommandId
from glowplug.core.ladder import Step

from .conftest import NODE, WAIT_S, NodeUnderTest
from .slow import slow_model

pytestmark = pytest.mark.e2e


def test_a_build_that_is_given_up_ends(on_node: Callable[..., None], node_folder: Path) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with slow_model(node, node_folder) as (spec, door):
            for processes_before in (0, 1):  # in its build child, in its probe
                node.engine.submit(Build(CommandId(1000 + processes_before), NODE, spec))
                for _ in range(processes_before):
                    await door.let_in()
                reader, _ = await door.visitor()
                lost = await node.descend("build", spec.version, Step.LOCAL)
                assert isinstance(lost, StepLost)
                assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
            assert isinstance(await node.descend("build", spec.version, Step.LOCAL), StepLost)
            again, *_ = await asyncio.gather(node.build(spec), door.let_in(), door.let_in())
            assert isinstance(again, Built), again

    on_node(scenario)
