from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from glowplug.core.ids import NodeId
from glowplug.testing.engine_suite import EngineHarness, EngineSuite
from glowplug.testing.fake_engine import FakeEngine
from tests.control.world import NODE, spec


class _Harness:
    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.node: NodeId = NODE
        self.spec = spec()

    async def settle(self, until: Callable[[], bool]) -> None:
        self.engine.answer_all()
        await asyncio.sleep(0)
        if not until():
            raise TimeoutError


class TestFakeEngine(EngineSuite):
    @asynccontextmanager
    async def harness(self) -> AsyncIterator[EngineHarness]:
        yield _Harness()
