"""A model whose set-up, in each of its processes, waits at a door until the test lets it in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from glowplug.core.events import StepReached
from glowplug.core.specs import FunctionSpec

from .conftest import WAIT_S, NodeUnderTest

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


class Door:
    """Where those that set up stand, in the order in which they came."""

    def __init__(self) -> None:
        self._visitors: asyncio.Queue[Visitor] = asyncio.Queue()

    async def open(self) -> asyncio.Server:
        return await asyncio.start_server(lambda *both: self._visitors.put_nowait(both), "127.0.0.1")

    async def visitor(self) -> Visitor:
        return await asyncio.wait_for(self._visitors.get(), WAIT_S)

    async def let_in(self) -> None:
        """The next one."""
        _, writer = await self.visitor()
        writer.write(b"\n")
        writer.close()


@asynccontextmanager
async def slow_model(node: NodeUnderTest, folder: Path) -> AsyncIterator[tuple[FunctionSpec, Door]]:
    """Its spec, with its environment up, and its door."""
    door = Door()
    server = await door.open()
    async with server:
        source = folder / "slow_app.py"
        source.write_text(SOURCE.replace("PORT", str(server.sockets[0].getsockname()[1])))
        spec = (await node.specs(source))["slow"]
        assert isinstance(await node.import_environment(spec), StepReached)
        yield spec, door
