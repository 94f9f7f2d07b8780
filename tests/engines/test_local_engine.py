"""The local engine passes the suite that every engine must pass, with a real agent and real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from glowplug.core.events import CommandFailed, NodeJoined, NodeLost
from glowplug.core.ids import NodeId
from glowplug.core.specs import FunctionSpec
from glowplug.testing.engine_suite import EngineHarness, EngineSuite

from ..node.conftest import NODE, WAIT_S, NodeUnderTest
from ..node.test_plain_function import write_source


class _Harness:
    def __init__(self, node: NodeUnderTest) -> None:
        self.engine = node.engine
        self.node: NodeId = NODE
        self._under_test = node

    async def prepare(self) -> _Harness:
        await self._under_test.start()
        specs = await self._under_test.specs(write_source(self._under_test.folder))
        self.spec = specs["shout"]
        return self

    async def settle(self, until: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not until():
                await asyncio.sleep(0.005)


@pytest.mark.e2e
class TestLocalEngine(EngineSuite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def harness(self) -> AbstractAsyncContextManager[EngineHarness]:
        @asynccontextmanager
        async def prepared() -> AsyncIterator[EngineHarness]:
            node = NodeUnderTest(self.folder, {})
            try:
                yield await _Harness(node).prepare()
            finally:
                await node.close()

        return prepared()


@pytest.mark.e2e
def test_a_climb_whose_secrets_cannot_be_read_fails_at_once(tmp_path: Path) -> None:
    def unreadable(spec: FunctionSpec) -> dict[str, str]:
        raise sqlite3.OperationalError("disk I/O error")

    async def story() -> None:
        node = NodeUnderTest(tmp_path, {})
        await node.start()
        try:
            spec = (await node.specs(write_source(tmp_path)))["shout"]
            node.engine._env_of = unreadable
            failed = await node.import_environment(spec)
            assert isinstance(failed, CommandFailed)
            assert (failed.code, failed.message) == ("unavailable", "disk I/O error")
        finally:
            await node.close()

    asyncio.run(story())


@pytest.mark.e2e
def test_an_agent_that_comes_back_less_isolated_gets_nothing_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        node = NodeUnderTest(tmp_path, {})

        async def told(kind: type[NodeLost] | type[NodeJoined], times: int) -> None:
            await node.until(lambda _: sum(isinstance(event, kind) for event in node.events) == times)

        try:
            await node.start()
            if node.engine.isolation["own user"].startswith("no"):
                pytest.skip("this host allows no users")
            settings = node.engine.settings
            node.engine.settings = msgspec.structs.replace(settings, drop_privileges=False)
            os.kill(node.engine.agent_pid, signal.SIGKILL)
            await told(NodeLost, 2)
            await told(NodeJoined, 1)
            node.engine.settings = settings
            await told(NodeJoined, 2)
            assert node.engine.isolation["own user"].startswith("yes")
        finally:
            await node.close()

    asyncio.run(main())
