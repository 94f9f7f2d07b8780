"""Two ends of a control socket in one event loop, which keep what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from glowplug.node import wire
from glowplug.node.link import Link
from glowplug.server.gateways.messages import FromGateway, FromServer
from tests.transport.conftest import open_descriptors


class End:
    """One end, and what came there."""

    def __init__(self, sock: Any, types: Any) -> None:
        self.came: list[Any] = []
        self.descriptors: list[int] = []
        self.why = ""
        self.link = Link(sock, types, self._on_message, self._on_end)

    def _on_message(self, message: Any, descriptors: list[int]) -> None:
        self.came.append(message)
        self.descriptors += descriptors

    def _on_end(self, why: str) -> None:
        assert not self.why
        self.why = why

    async def has(self, count: int) -> None:
        while len(self.came) < count:
            await asyncio.sleep(0)

    async def ended(self) -> str:
        while not self.why:
            await asyncio.sleep(0)
        return self.why


def run(scenario: Callable[[End, End], Awaitable[None]]) -> None:
    async def whole() -> None:
        ours, theirs = wire.socket_pair()
        server, gateway = End(ours, FromGateway), End(theirs, FromServer)
        await asyncio.wait_for(scenario(server, gateway), 60)
        server.link.close()
        gateway.link.close()

    before = open_descriptors()
    asyncio.run(whole())
    assert open_descriptors() <= before
