"""The platform behind the admin interface: the store, the database, the controller and the node, together."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from glowplug._version import __version__
from glowplug.bundle.store import BundleStore
from glowplug.control.driver import Driver
from glowplug.control.fleet.status import device_statuses
from glowplug.control.loads import function_loads
from glowplug.control.status import (
    function_status,
    function_statuses,
    kept_versions,
    node_statuses,
    preload_status,
)  # fmt: skip
from glowplug.core.errors import (
    NoSpace,
    Unavailable,
    UnknownDevice,
    UnknownFunction,
    UnknownSecret,
    UnknownVersion,
)  # fmt: skip
from glowplug.core.events import (
    Built,
    ClimbRequested,
    CommandFailed,
    Deployed,
    DescendRequested,
    Event,
    RollbackRequested,
    ScaleRequested,
    Undeployed,
)  # fmt: skip
from glowplug.core.explanation import Explanation
from glowplug.core.ids import FunctionId, PackagesId, RequestId, VersionId, function_id
from glowplug.core.ladder import Step
from glowplug.core.specs import FunctionSpec
from glowplug.core.status import (
    DeviceStatus,
    FunctionLoad,
    FunctionStatus,
    LogLine,
    LogQuery,
    PackagesList,
)  # fmt: skip
from glowplug.engines.local import LocalEngine
from glowplug.gateway.flight import FunctionInfo
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
from glowplug.server.explaining import Explainer
from glowplug.server.logs import LogBook
from glowplug.server.packages import PackageKeeper
from glowplug.server.specify import specify

log = structlog.get_logger("glowplug.platform")
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
        self._infos: dict[FunctionId, FunctionInfo] = {}
        self._locks: defaultdict[FunctionId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._writer = ThreadPoolExecutor(1, "database")
        self._changed = asyncio.Event()
        self._started = False
        self._packages = PackageKeeper(store.environments, engine, self._wanted_packages, environments_bytes)

    # what a start finds again

    def restore(self) -> None:
        """Tells the controller of every version that was acknowledged, oldest first; collects garbage."""
        stored = self._database.versions()
        deployed, unbuilt = [], set()
        for found in stored:
            spec = found.spec
            # An artifact store that does not answer now may never, so that the version is built again: if
            # there is anything to build it from.
            trusting = not self._store.has_upload(spec.upload)
            manifest = self._store.manifest(spec.version, trusting=trusting)
            facts = manifest.facts if manifest is not None and found.facts is not None else None
            if facts is None:
                unbuilt.add(spec.upload)
            deployed.append(Deployed(spec, facts))
        # Before anything is built: until its bundle is whole, nobody names a new pack.
        self._store.environments.forget_requests({found.spec.packages for found in stored})
        self._store.collect_garbage({found.spec.version for found in stored}, unbuilt)
        for event in deployed:
            self._know(event.spec)
            self._driver.post(event)
        self._started = True

    def observe(self, event: Event) -> None:
        """Keeps what the node found out about a version. Called with each event of the engine."""
        if isinstance(event, Built):
            self._write(self._database.save_facts, event.version, event.facts)
            built = self._driver.state.context.store.versions.get(event.version)
            if built is not None and built.spec.packages:
                self._packages.keep_to_budget()
        elif isinstance(event, CommandFailed) and event.target.kind == "build" and event.permanent:
            self._write(self._database.save_error, VersionId(event.target.key), event.message)
        self._changed.set()
        self._changed = asyncio.Event()

    def known(self, function: FunctionId) -> FunctionInfo | None:
        return self._infos.get(function)

    def env_of(self, spec: FunctionSpec) -> dict[str, str]:
        """A function's environment variables, with the secrets it may read."""
        wanted = spec.declaration.secrets
        secrets = self._database.secrets(spec.namespace) if wanted else {}
        return dict(spec.declaration.env) | {name: secrets[name] for name in wanted if name in secrets}

    # gateway.platform.Platform

    async def deploy(self, request: DeployRequest, update: bool) -> Deployment:
        function = function_id(request.service, request.namespace)
        async with self._locks[function]:
            if update and function not in self._infos:
                raise UnknownFunction(f"no function {function}: deploy it first, then update it")
            spec = await asyncio.to_thread(specify, function, request, self._store, self._database)
            manifest = self._store.manifest(spec.version)
            with _stored("the deploy"):
                await self._save(spec)
            self._know(spec)
            facts = manifest.facts if manifest is not None and manifest.facts.build_s else None
            self._driver.post(Deployed(spec, facts))
        return Deployment(request.service, request.namespace, spec.version)

    def functions(self) -> list[FunctionStatus]:
        return function_statuses(self._driver.state)

    def function(self, function: FunctionId) -> FunctionStatus:
        found = function_status(self._driver.state, function)
        if found is None:
            raise UnknownFunction(f"no function {function}: `glowplug ps` lists those that are deployed")
        return found

    def loads(self) -> Iterator[FunctionLoad]:
        return function_loads(self._driver.state)

    async def scale(self, function: FunctionId, replicas: int) -> None:
        self.function(function)
        self._driver.post(ScaleRequested(function, replicas))

    async def undeploy(self, function: FunctionId) -> None:
        async with self._locks[function]:
            self.function(function)
            with _stored(f"that {function} is undeployed"):
                await asyncio.to_thread(self._database.remove_function, function)
            self._infos.pop(function, None)
            self._driver.post(Undeployed(function))
            self._log_book.forget(function)

    async def rollback(self, function: FunctionId, version: str | None) -> None:
        async with self._locks[function]:
            status = self.function(function)
            earlier = [v for v in status.versions if v != status.version]
            if version is None:
                if not earlier:
                    raise UnknownVersion(f"{function} has no earlier version to go back to")
                version = earlier[0]
            if version not in earlier:
                kept = ", ".join(earlier) or "none"
                raise UnknownVersion(
                    f"{function} keeps no version {version[:40]!r} to go back to; kept: {kept}"
                )
            found = next((v for v in self._database.versions() if v.spec.version == version), None)
            if found is None:
                raise UnknownVersion(f"{function} does not keep version {version} any more")
            with _stored("the rollback"):
                await self._save(found.spec)
            self._know(found.spec)
            if version in kept_versions(self._driver.state, function):
                self._driver.post(RollbackRequested(function, found.spec.version))
            else:  # it was retired while it was stored: then it is deployed again
                self._driver.post(Deployed(found.spec, found.facts))

    async def move(self, function: FunctionId, direction: Direction, step: Step, cache: Cache | None) -> None:
        status = self.function(function)
        event = ClimbRequested if direction == "climb" else DescendRequested
        try:
            async with asyncio.timeout(_MOVE_S):
                await self._until(lambda: self.function(function).state != "building")
                self._driver.post(event(function, step))
                await self._until(lambda: self._driver.state.standing(function) == step)
                if cache is not None:
                    await self._engine.cache_weights(
                        status.version or self.function(function).version, cache == "warm"
                    )
        except TimeoutError:
            stands = self._driver.state.standing(function).label
            raise Unavailable(
                f"{function} did not come to {step.label} in {_MOVE_S:.0f} s; it is {stands}"
            ) from None

    async def receive_upload(self, chunks: AsyncIterator[bytes]) -> str:
        with _stored("the upload"):
            return (await self._store.receive_upload(chunks, self._max_upload_bytes))[0]

    def logs(
        self, function: FunctionId, follow: bool, tail: int | None, query: LogQuery
    ) -> AsyncIterator[LogLine]:
        return self._log_book.read(function, follow, tail, query)

    def info(self) -> PlatformInfo:
        state = self._driver.state
        nodes = tuple(node_statuses(state))
        return PlatformInfo(__version__, nodes, self._engine.isolation, preload_status(state))

    def ready(self) -> bool:
        return self._started and bool(self._driver.state.nodes)

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
        with _stored(f"secret {secret.name}"):
            await asyncio.to_thread(self._database.set_secret, secret.namespace, secret.name, secret.value)

    async def remove_secret(self, secret: SecretName) -> None:
        with _stored(f"that secret {secret.name} is removed"):
            if not await asyncio.to_thread(self._database.remove_secret, secret.namespace, secret.name):
                raise UnknownSecret(f"no secret {secret.name} in namespace {secret.namespace}")

    def close(self) -> None:
        self._writer.shutdown()
        self._database.close()

    # inside

    async def _save(self, spec: FunctionSpec) -> None:
        """As the newest version. What the controller still has use for is kept beside it, however many newer
        ones could not be built."""
        kept = kept_versions(self._driver.state, spec.function)
        await asyncio.to_thread(self._database.save_version, spec, kept)

    def _know(self, spec: FunctionSpec) -> None:
        endpoints = spec.declaration.endpoints
        self._infos[spec.function] = FunctionInfo(
            tuple(endpoint.name for endpoint in endpoints),
            spec.declaration.timeout_s,
            spec.declaration.max_queue,
            frozenset(endpoint.name for endpoint in endpoints if endpoint.idempotent),
        )  # fmt: skip

    async def _wanted_packages(self) -> dict[PackagesId, set[FunctionId]]:
        """Who needs which: every version that is stored, and those that still finish requests."""
        found: dict[PackagesId, set[FunctionId]] = {}
        stored = await asyncio.to_thread(self._database.versions)
        running = [version.spec for version in self._driver.state.context.store.versions.values()]
        for spec in (*running, *(each.spec for each in stored)):
            if spec.packages:
                found.setdefault(spec.packages, set()).add(spec.function)
        return found

    async def _until(self, condition: Any) -> None:
        while not condition():
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), 0.05)
            except TimeoutError:
                continue

    def _write(self, call: Any, *arguments: Any) -> None:
        self._writer.submit(call, *arguments).add_done_callback(_report)


@contextlib.contextmanager
def _stored(what: str) -> Iterator[None]:
    """What the disk does not take is the disk's fault. Raises NoSpace."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise NoSpace(f"{what} cannot be stored: {error}") from error


def _report(done: Any) -> None:
    if done.exception() is not None:
        log.error("the database could not be written", error=str(done.exception()))
