"""A build that the controller gives up, in each of its processes, and the next one of the same version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.commands import Build
from glowplug.core.events import Built, StepLost, StepReached
from glowplug.core.ids import CommandId
from glowplug.core.ladder import Step

from .conftest import NODE, WAIT_S, NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import socket
import glowplug
app = glowplug.App("slow")

@app.model(network=True)
class Slow:
    def setup(self):
        with socket.create_connection(("127.0.0.1", PORT)) as door:
            door.recv(1)

    @glowplug.endpoint
    def answer(self) -> int:
        return 1
"""
Visitor = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def test_a_build_that_is_given_up_ends(on_node: Callable[..., None], node_folder: Path) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        visitors: asyncio.Queue[Visitor] = asyncio.Queue()
        door = await asyncio.start_server(lambda *both: visitors.put_nowait(both), "127.0.0.1")
        async with door:
            source = node_folder / "slow_app.py"
            source.write_text(SOURCE.replace("PORT", str(door.sockets[0].getsockname()[1])))
            spec = (await node.specs(source))["slow"]
            assert isinstance(await node.import_environment(spec), StepReached)

            async def let_in() -> None:
                _, writer = await asyncio.wait_for(visitors.get(), WAIT_S)
                writer.write(b"\n")

            for processes_before in (0, 1):  # in its build child, in its probe
                node.engine.submit(Build(CommandId(1000 + processes_before), NODE, spec))
                for _ in range(processes_before):
                    await let_in()
                reader, _ = await asyncio.wait_for(visitors.get(), WAIT_S)
                lost = await node.descend("build", spec.version, Step.LOCAL)
                assert isinstance(lost, StepLost)
                assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
            assert isinstance(await node.descend("build", spec.version, Step.LOCAL), StepLost)
            again, *_ = await asyncio.gather(node.build(spec), let_in(), let_in())
            assert isinstance(again, Built), again

    on_node(scenario)
