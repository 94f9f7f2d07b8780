"""The platform behind the admin interface: the store, the database, the controller and the node, together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from glowplug._version import __version__
from glowplug.bundle.store import BundleStore
from glowplug.control.driver import Driver
from glowplug.control.fleet.status import device_statuses
from glowplug.control.loads import function_loads
from glowplug.control.status import (
    function_status,
    function_statuses,
    node_statuses,
    preload_status,
)  # fmt: skip
from glowplug.core.errors import (
    InvalidArguments,
    Unavailable,
    UnknownDevice,
    UnknownSecret,
)  # fmt: skip
from glowplug.core.events import (
    Built,
    ClimbRequested,
    DescendRequested,
    Event,
    ScaleRequested,
)  # fmt: skip
from glowplug.core.explanation import Explanation
from glowplug.core.ids import FunctionId, RequestId
from glowplug.core.ladder import Step, parse_step
from glowplug.core.status import (
    DeviceStatus,
    FunctionLoad,
    FunctionStatus,
    LogLine,
    LogQuery,
    PackagesList,
)  # fmt: skip
from glowplug.engines.local import LocalEngine
from glowplug.gateway.platform import (
    Cache,
    Deployment,
    DeployRequest,
    DeviceFault,
    Direction,
    PlatformInfo,
    PruneRequest,
    Secret,
    SecretName,
)
from glowplug.server.database import Database
from glowplug.server.deployments import Deployments, not_deployed, stored
from glowplug.server.explaining import Explainer
from glowplug.server.logs import LogBook
from glowplug.server.packages import PackageKeeper

_MOVE_S = 120.0


class LocalPlatform:
    """Implements gateway.platform.Platform on one machine. Used from one event loop."""

    def __init__(
        self,
        store: BundleStore,
        database: Database,
        driver: Driver,
        engine: LocalEngine,
        logs: LogBook,
        max_upload_bytes: int,
        environments_bytes: int,
        explainer: Explainer,
    ) -> None:
        self._store = store
        self._database = database
        self._driver = driver
        self._engine = engine
        self._log_book = logs
        self._max_upload_bytes = max_upload_bytes
        self._explainer = explainer
        self._changed = asyncio.Event()
        self.deployments = Deployments(store, database, driver)
        wanted = self.deployments.wanted_packages
        self._packages = PackageKeeper(store.environments, engine, wanted, environments_bytes)

    def observe(self, event: Event) -> None:
        """Called with each event of the engine."""
        self.deployments.observe(event)
        if isinstance(event, Built):
            built = self._driver.state.context.store.versions.get(event.version)
            if built is not None and built.spec.packages:
                self._packages.keep_to_budget()
        self._changed.set()
        self._changed = asyncio.Event()

    # gateway.platform.Platform

    async def deploy(self, request: DeployRequest, update: bool) -> Deployment:
        return await self.deployments.deploy(request, update)

    async def undeploy(self, function: FunctionId) -> None:
        await self.deployments.undeploy(function)
        self._log_book.forget(function)

    async def rollback(self, function: FunctionId, version: str | None) -> None:
        await self.deployments.rollback(function, version)

    def functions(self) -> list[FunctionStatus]:
        return function_statuses(self._driver.state)

    def function(self, function: FunctionId) -> FunctionStatus:
        found = function_status(self._driver.state, function)
        if found is None:
            raise not_deployed(function)
        return found

    def loads(self) -> Iterator[FunctionLoad]:
        return function_loads(self._driver.state)

    async def scale(self, function: FunctionId, replicas: int) -> None:
        self.function(function)
        self._driver.post(ScaleRequested(function, replicas))

    async def move(self, function: FunctionId, direction: Direction, step: Step, cache: Cache | None) -> None:
        self.function(function)
        state = self._driver.state
        event = ClimbRequested if direction == "climb" else DescendRequested

        def is_over() -> bool:
            """Whoever was called meanwhile is parked soon, and comes to no other step by this move; nor does
            who turned out to have no zygote of its own, and stays below."""
            return state.standing(function) == step or (
                step != Step.PARKED and not state.is_sent(function, step)
            )

        try:
            async with asyncio.timeout(_MOVE_S):
                await self._until(lambda: self.function(function).state != "building")
                status = self.function(function)
                if step == Step.STAGED and parse_step(status.highest_step) < step:
                    words = f"step: {function} climbs to {status.highest_step} and no further"
                    raise InvalidArguments(f"{words}: {status.reason}" if status.reason else words, "step")
                self._driver.post(event(function, step))
                await self._until(is_over)
                if state.standing(function) != step:
                    why = self.function(function).error or "it was called meanwhile"
                    raise Unavailable(f"{function} did not come to {step.label}: {why}")
                if cache is not None:
                    status = self.function(function)  # it may have been built meanwhile
                    parts = (f"{status.version}.{number}" for number in range(1, status.workers))
                    for weights in (status.version, *parts):
                        await self._engine.cache_weights(weights, cache == "warm")
        except TimeoutError:
            stands = state.standing(function).label
            raise Unavailable(
                f"{function} did not come to {step.label} in {_MOVE_S:.0f} s; it is {stands}"
            ) from None

    async def receive_upload(self, chunks: AsyncIterator[bytes]) -> str:
        with stored("the upload"):
            upload, _ = await self._store.receive_upload(chunks, self._max_upload_bytes)
        self.deployments.look_later()  # nobody may ever deploy it
        return upload

    def logs(
        self, function: FunctionId, follow: bool, tail: int | None, query: LogQuery
    ) -> AsyncIterator[LogLine]:
        return self._log_book.read(function, follow, tail, query)

    def info(self) -> PlatformInfo:
        state = self._driver.state
        nodes = tuple(node_statuses(state))
        return PlatformInfo(__version__, nodes, self._engine.isolation, preload_status(state))

    def ready(self) -> bool:
        return self.deployments.is_restored and bool(self._driver.state.nodes)

    def devices(self) -> list[DeviceStatus]:
        return device_statuses(self._driver.state)

    async def disturb(self, wanted: DeviceFault) -> None:
        known = [f"{each.device}" for each in self._engine.devices]
        if wanted.device not in known:
            there = ", ".join(known) or "none"
            raise UnknownDevice(f"there is no device {wanted.device[:80]!r}; there are: {there}")
        await self._engine.disturb(wanted.device, wanted.fault)

    async def explain(self, request: RequestId) -> Explanation:
        self._driver.flush()
        return await self._explainer.explain(request)

    async def packages(self) -> PackagesList:
        return await self._packages.listed()

    async def prune_packages(self, request: PruneRequest) -> PackagesList:
        return await self._packages.prune(request.cache)

    def secrets(self, namespace: str) -> list[str]:
        return sorted(self._database.secrets(namespace))

    async def set_secret(self, secret: Secret) -> None:
        with stored(f"secret {secret.name}"):
            await asyncio.to_thread(self._database.set_secret, secret.namespace, secret.name, secret.value)

    async def remove_secret(self, secret: SecretName) -> None:
        with stored(f"that secret {secret.name} is removed"):
            if not await asyncio.to_thread(self._database.remove_secret, secret.namespace, secret.name):
                raise UnknownSecret(f"no secret {secret.name} in namespace {secret.namespace}")

    def close(self) -> None:
        self.deployments.close()
        self._database.close()

    # inside

    async def _until(self, condition: Any) -> None:
        while not condition():
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), 0.05)
            except TimeoutError:
                continue
