"""Which versions are deployed: on disk before it is acknowledged, then known to gateways and controller."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from glowplug.bundle.garbage import JUST_NOW_S, Kept, collect, collect_all
from glowplug.bundle.manifest import Manifest
from glowplug.bundle.provenance import changes, installed
from glowplug.bundle.store import BundleStore
from glowplug.control.driver import Driver
from glowplug.control.status import function_status, kept_versions
from glowplug.core.errors import NoSpace, UnknownFunction, UnknownVersion
from glowplug.core.events import Built, CommandFailed, Deployed, Event, RollbackRequested, Undeployed
from glowplug.core.ids import FunctionId, PackagesId, VersionId, function_id
from glowplug.core.specs import BundleFacts, FunctionSpec
from glowplug.gateway.flight import FunctionInfo
from glowplug.gateway.platform import Deployment, DeployRequest
from glowplug.server.database import Database
from glowplug.server.specify import specify

log = structlog.get_logger("glowplug.platform")


def _ignore(function: FunctionId, info: FunctionInfo | None) -> None:
    pass


def not_deployed(function: FunctionId) -> UnknownFunction:
    return UnknownFunction(f"no function {function}: `glowplug ps` lists those that are deployed")


class Deployments:
    """Used from one event loop."""

    def __init__(self, store: BundleStore, database: Database, driver: Driver) -> None:
        self._store = store
        self._database = database
        self._driver = driver
        self._infos: dict[FunctionId, FunctionInfo] = {}
        self.on_known: Callable[[FunctionId, FunctionInfo | None], None] = _ignore
        """Told what `known` says from now on."""
        self._locks: defaultdict[FunctionId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._keeping = asyncio.Lock()
        """Held while a version is stored, and while what none needs is removed."""
        self._collecting: asyncio.Task[None] | None = None
        self._has_garbage = False
        self._looks_again: asyncio.TimerHandle | None = None
        self._deployed: defaultdict[str, set[str]] = defaultdict(set)
        """Of an upload that is still there, what was deployed from it."""
        self._writer = ThreadPoolExecutor(1, "database")
        self.is_restored = False

    def restore(self) -> None:
        """Tells the controller of every version that was acknowledged, oldest first; collects garbage."""
        stored = self._database.versions()
        deployed, unbuilt = [], set()
        here = installed()
        changed: dict[FunctionId, str] = {}
        for found in stored:
            spec = found.spec
            # An artifact store that does not answer now may never, so that the version is built again: if
            # there is anything to build it from.
            trusting = not self._store.has_upload(spec.upload)
            manifest = self._store.manifest(spec.version, trusting=trusting)
            facts = _facts_of(manifest, found.facts is not None)
            if facts is None:
                unbuilt.add(spec.upload)
            # Of the versions that are kept the last one says it for their function.
            changed.pop(spec.function, None)
            if facts is not None and manifest is not None and not spec.packages:
                changed[spec.function] = changes(manifest.built_with, here)
            deployed.append(Deployed(spec, facts))
        # Before anything is built: until its bundle is whole, nobody names a new pack.
        self._store.environments.forget_requests({found.spec.packages for found in stored})
        collect_all(self._store, {found.spec.version for found in stored}, unbuilt)
        for event in deployed:
            self._know(event.spec)
            self._driver.post(event)
        for what in filter(None, dict.fromkeys(changed.values())):
            functions = [function for function, found in changed.items() if found == what]
            log.warning("what these were built with has changed: deploy them again", changed=what,
                        functions=functions)  # fmt: skip
        self.is_restored = True

    def observe(self, event: Event) -> None:
        """Keeps what the node found out about a version. Called with each event of the engine."""
        if isinstance(event, Built):
            self._write(self._database.save_facts, event.version, event.facts)
            self._collect_soon()
        elif isinstance(event, CommandFailed) and event.target.kind == "build" and event.permanent:
            self._write(self._database.save_error, VersionId(event.target.key), event.message)
            self._collect_soon()

    def known(self, function: FunctionId) -> FunctionInfo | None:
        return self._infos.get(function)

    def env_of(self, spec: FunctionSpec) -> dict[str, str]:
        """A function's environment variables, with the secrets it may read."""
        wanted = spec.declaration.secrets
        secrets = self._database.secrets(spec.namespace) if wanted else {}
        return dict(spec.declaration.env) | {name: secrets[name] for name in wanted if name in secrets}

    async def deploy(self, request: DeployRequest, update: bool) -> Deployment:
        function = function_id(request.service, request.namespace)
        async with self._locks[function]:
            if update and function not in self._infos:
                raise UnknownFunction(f"no function {function}: deploy it first, then update it")
            with stored("the deploy"):
                spec = await asyncio.to_thread(specify, function, request, self._store, self._database)
            async with self._keeping:
                # Where the pack is not on this disk the artifact store is asked for it.
                facts = _facts_of(await asyncio.to_thread(self._store.manifest, spec.version))
                with stored("the deploy"):
                    await self._save(spec, facts)
                self._know(spec)
                self._driver.post(Deployed(spec, facts))
        return Deployment(request.service, request.namespace, spec.version)

    async def undeploy(self, function: FunctionId) -> None:
        async with self._locks[function]:
            if function_status(self._driver.state, function) is None:
                raise not_deployed(function)
            with stored(f"that {function} is undeployed"):
                await asyncio.to_thread(self._database.remove_function, function)
            self._infos.pop(function, None)
            self.on_known(function, None)
            self._driver.post(Undeployed(function))
            self._collect_soon()

    async def rollback(self, function: FunctionId, version: str | None) -> None:
        async with self._locks[function]:
            status = function_status(self._driver.state, function)
            if status is None:
                raise not_deployed(function)
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
            stored_versions = await asyncio.to_thread(self._database.versions)
            found = next((v for v in stored_versions if v.spec.version == version), None)
            if found is None:
                raise UnknownVersion(f"{function} does not keep version {version} any more")
            with stored("the rollback"):
                await self._save(found.spec)
            self._know(found.spec)
            if version in kept_versions(self._driver.state, function):
                self._driver.post(RollbackRequested(function, found.spec.version))
            else:  # it was retired while it was stored: then it is deployed again
                self._driver.post(Deployed(found.spec, found.facts))

    def close(self) -> None:
        if self._collecting is not None:
            self._collecting.cancel()
        if self._looks_again is not None:
            self._looks_again.cancel()
        self._writer.shutdown()

    def look_later(self) -> None:
        """To be called when something came that may never be used. Not at once: clocks jump, and who brought
        it is about to name it."""
        if self._looks_again is None:
            self._looks_again = asyncio.get_running_loop().call_later(JUST_NOW_S, self._collect_soon)

    def _collect_soon(self) -> None:
        self._has_garbage = True
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.get_running_loop().create_task(self._collect())

    async def _collect(self) -> None:
        """Removes what no version needs any more that is stored, or that the controller still has; and looks
        again later where that will be less, for then nobody may say so."""
        is_left = False
        try:
            while self._has_garbage:
                self._has_garbage = False
                async with self._keeping:
                    kept, are_leaving = await self._kept()
                    is_left = await asyncio.to_thread(collect, self._store, kept) or are_leaving
        except (OSError, sqlite3.Error) as error:
            log.error("what nobody needs could not be removed", error=str(error))
        if self._looks_again is not None:
            self._looks_again.cancel()
        loop = asyncio.get_running_loop()
        self._looks_again = loop.call_later(JUST_NOW_S, self._collect_soon) if is_left else None

    async def _kept(self) -> tuple[Kept, bool]:
        """And whether the controller has a version that is not stored any more."""
        stored = {each.spec.version: each for each in await asyncio.to_thread(self._database.versions)}
        running = self._driver.state.context.store.versions
        unbuilt = {
            each.spec.upload for name, each in stored.items() if each.facts is None and name not in running
        }
        for name, version in running.items():
            if version.state in ("pending", "building") or (version.state == "failed" and name in stored):
                unbuilt.add(version.spec.upload)
        for upload in [upload for upload in self._deployed if not self._store.has_upload(upload)]:
            del self._deployed[upload]
        is_building = any(version.state in ("pending", "building") for version in running.values())
        specs = (*(each.spec for each in stored.values()), *(each.spec for each in running.values()))
        packages = {spec.packages for spec in specs}
        kept = Kept({*stored, *running}, unbuilt, dict(self._deployed), is_building, packages)
        return kept, not running.keys() <= stored.keys()

    async def _save(self, spec: FunctionSpec, facts: BundleFacts | None = None) -> None:
        """As the newest version, with what is known of its bundle if that is there. What the controller still
        has use for is kept beside it, however many newer ones could not be built."""
        kept = kept_versions(self._driver.state, spec.function)
        await asyncio.to_thread(self._database.save_version, spec, kept, facts)

    def _know(self, spec: FunctionSpec) -> None:
        self._deployed[spec.upload].add(spec.declaration.name)
        endpoints = spec.declaration.endpoints
        self._infos[spec.function] = info = FunctionInfo(
            tuple(endpoint.name for endpoint in endpoints),
            spec.declaration.timeout_s,
            spec.declaration.max_queue,
            frozenset(endpoint.name for endpoint in endpoints if endpoint.idempotent),
        )  # fmt: skip
        self.on_known(spec.function, info)

    async def wanted_packages(self) -> dict[PackagesId, set[FunctionId]]:
        """Who needs which: every version that is stored, and those that still finish requests."""
        found: dict[PackagesId, set[FunctionId]] = {}
        stored = await asyncio.to_thread(self._database.versions)
        running = [version.spec for version in self._driver.state.context.store.versions.values()]
        for spec in (*running, *(each.spec for each in stored)):
            if spec.packages:
                found.setdefault(spec.packages, set()).add(spec.function)
        return found

    def _write(self, call: Any, *arguments: Any) -> None:
        self._writer.submit(call, *arguments).add_done_callback(_report)


@contextlib.contextmanager
def stored(what: str) -> Iterator[None]:
    """What the disk does not take is the disk's fault. Raises NoSpace."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise NoSpace(f"{what} cannot be stored: {error}") from error


def _facts_of(manifest: Manifest | None, stored: bool = False) -> BundleFacts | None:
    """What is known of a bundle that is whole; None where it has to be built. Its own word is enough, also
    where the database was never told."""
    return manifest.facts if manifest is not None and (stored or manifest.facts.build_s) else None


def _report(done: Any) -> None:
    if done.exception() is not None:
        log.error("the database could not be written", error=str(done.exception()))
