"""A real agent with real processes, driven by commands; a fake of nothing."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glowplug.bundle.inspect import Inspection, inspect_source
from glowplug.bundle.manifest import environment_id, version_id
from glowplug.bundle.store import BundleStore
from glowplug.bundle.uploads import write_upload
from glowplug.core.commands import Build, Climb, Command, Descend, Target
from glowplug.core.events import Built, CommandFailed, Event, InstanceExited, StepLost, StepReached
from glowplug.core.ids import CommandId, InstanceId, NodeId, PackagesId, function_id
from glowplug.core.ladder import Step
from glowplug.core.settings import NodeSettings
from glowplug.core.specs import BundleFacts, FunctionSpec
from glowplug.engines.local import LocalEngine
from glowplug.node.messages import Said
from glowplug.transport.frames import RequestMeta
from glowplug.transport.gateway_side import Reply, WorkerConnections

NODE = NodeId("local")
WAIT_S = 180.0
"""Patience with a machine that has much else to do; what goes well waits for none of it."""


class NodeUnderTest:
    """The engine, its store, and every event it told, in order."""

    def __init__(self, folder: Path, env: dict[str, str], **settings: Any) -> None:
        self.folder = folder
        self.settings = NodeSettings(str(folder / "state"), str(folder / "run"), threads=1, **settings)
        self.store = BundleStore(folder / "state")
        self.connections = WorkerConnections()
        self.said: list[Said] = []
        self.events: list[Event] = []
        self._arrived = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self.engine = LocalEngine(self.settings, self.connections.attach, lambda spec: env, self.said.append)
        self.engine.connect(self._on_event)

    async def start(self) -> None:
        self.store.prepare()
        await self.engine.start()

    async def close(self) -> None:
        await self.engine.close()
        self.connections.close()

    def _on_event(self, event: Event) -> None:
        self.events.append(event)

        async def notify() -> None:
            async with self._arrived:
                self._arrived.notify_all()

        task = asyncio.get_running_loop().create_task(notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def until(self, wanted: Callable[[Event], bool], timeout_s: float = WAIT_S) -> Any:
        """The first event, told already or to come, that is wanted."""
        async with self._arrived:
            await asyncio.wait_for(self._arrived.wait_for(lambda: any(map(wanted, self.events))), timeout_s)
        return next(event for event in self.events if wanted(event))

    async def do(self, make: Callable[[CommandId], Command]) -> Any:
        """Submits a command and returns its outcome."""
        number = CommandId(next(self._numbers))
        self.engine.submit(make(number))
        outcomes = (StepReached, StepLost, CommandFailed, Built)
        return await self.until(lambda e: isinstance(e, outcomes) and e.command == number)

    async def upload(self, source: Path) -> tuple[str, Inspection]:
        inspection = await asyncio.to_thread(inspect_source, source)
        archive = self.folder / "upload.tar"
        write_upload(source, inspection, archive)

        async def chunks() -> AsyncIterator[bytes]:
            yield archive.read_bytes()

        upload, _ = await self.store.receive_upload(chunks(), 2**30)
        return upload, inspection

    async def specs(self, source: Path) -> dict[str, FunctionSpec]:
        upload, inspection = await self.upload(source)
        found = {}
        for declaration in inspection.declarations:
            function = function_id(declaration.name, declaration.namespace)
            packages = PackagesId("")
            if declaration.requirements is not None:
                code = self.store.upload_path(upload) / "code"
                packages = self.store.environments.keep_request(
                    declaration.requirements, code, declaration.libraries
                )
            environment = environment_id(declaration.libraries, packages)
            version = version_id(function, upload, declaration, environment)
            found[declaration.name] = FunctionSpec(
                function, version, declaration.namespace, environment, upload, declaration, packages=packages
            )
        return found

    async def import_environment(self, spec: FunctionSpec) -> Any:
        target = Target("environment", NODE, spec.environment_key)
        return await self.do(lambda n: Climb(n, target, Step.IMPORTED, spec))

    async def build(self, spec: FunctionSpec) -> Any:
        return await self.do(lambda n: Build(n, NODE, spec))

    async def stage(self, spec: FunctionSpec, facts: BundleFacts | None = None) -> Any:
        target = Target("version", NODE, spec.version)
        return await self.do(lambda n: Climb(n, target, Step.STAGED, spec, facts))

    async def park(self, spec: FunctionSpec, instance: int, origin: Step, prime: bool = True) -> Any:
        target = Target("instance", NODE, str(instance))
        return await self.do(lambda n: Climb(n, target, Step.PARKED, spec, origin=origin, prime=prime))

    async def descend(self, kind: Any, key: str, step: Step) -> Any:
        return await self.do(lambda n: Descend(n, Target(kind, NODE, key), step, "test"))

    async def call(self, instance: int, body: bytes, request: int = 1, **meta: Any) -> Reply:
        sent = RequestMeta(content_type="application/json", **meta)
        return await self.connections.call(InstanceId(instance), request, sent, body)  # type: ignore[arg-type]

    async def exited(self, instance: int) -> InstanceExited:
        found = await self.until(lambda e: isinstance(e, InstanceExited) and e.instance == instance)
        assert isinstance(found, InstanceExited)
        return found


@pytest.fixture
def node_folder(tmp_path: Path) -> Any:
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A folder of packages that an installer's own user can read."""
    folder = Path(tempfile.mkdtemp(prefix="glowplug-shelf-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def on_node(node_folder: Path) -> Callable[..., None]:
    """Runs a coroutine function with a started node: `on_node(scenario, env={...})`, and any settings."""

    def run(
        scenario: Callable[[NodeUnderTest], Any], env: dict[str, str] | None = None, **settings: Any
    ) -> None:
        async def main() -> None:
            node = NodeUnderTest(node_folder, env or {}, **settings)
            await node.start()
            try:
                await scenario(node)
            finally:
                await node.close()

        asyncio.run(main())

    return run
