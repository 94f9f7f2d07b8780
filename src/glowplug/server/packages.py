"""Keeps installed packages within their disk: the server knows who needs them, the agent removes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import structlog

from glowplug.bundle.environments import EnvironmentStore, unneeded
from glowplug.bundle.trees import tree_bytes
from glowplug.core.errors import Unavailable
from glowplug.core.ids import FunctionId, PackagesId
from glowplug.core.requirements import hide_credentials
from glowplug.core.status import PackagesList, PackagesStatus

log = structlog.get_logger("glowplug.packages")
_LINES_SHOWN = 200
Wanted = Callable[[], Awaitable[dict[PackagesId, set[FunctionId]]]]


class Remover(Protocol):
    """The engine, as far as it matters here: see LocalEngine."""

    async def remove_packages(self, names: tuple[str, ...], cache: bool = False) -> tuple[str, ...]: ...


class PackageKeeper:
    """Used in the server's event loop. `wanted` says which functions need what, when it is asked."""

    def __init__(self, store: EnvironmentStore, engine: Remover, wanted: Wanted, budget_bytes: int) -> None:
        self._store = store
        self._engine = engine
        self._wanted = wanted
        self._budget_bytes = budget_bytes
        self._tidying: asyncio.Task[None] | None = None

    async def listed(self) -> PackagesList:
        wanted = await self._wanted()
        return await asyncio.to_thread(self._list, wanted)

    async def prune(self, cache: bool) -> PackagesList:
        """Removes what nobody needs. Raises Unavailable."""
        wanted = await self._wanted()
        names = await asyncio.to_thread(self._store.names)
        before = await asyncio.to_thread(self._list, wanted)
        gone = await self._engine.remove_packages(tuple(n for n in names if n not in wanted), cache)
        after = await asyncio.to_thread(self._list, wanted)
        freed_bytes = _total(before) - _total(after)
        return PackagesList(after.packages, after.cache_bytes, gone, max(0, freed_bytes))

    def keep_to_budget(self) -> None:
        """Something was installed, perhaps: what is too much goes, in a task of its own."""
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.get_running_loop().create_task(self._tidy())

    async def _tidy(self) -> None:
        listed = await asyncio.to_thread(self._list, {})
        if _total(listed) <= self._budget_bytes:
            return
        wanted = await self._wanted()
        sizes = [(PackagesId(each.packages), each.size_bytes) for each in listed.packages]
        names = unneeded(sizes, set(wanted), self._budget_bytes)  # what was downloaded goes in any case
        try:
            gone = await self._engine.remove_packages(tuple(names), cache=True)
        except Unavailable:
            return  # asked again after the next build
        log.info("packages were removed to keep to the disk's budget", packages=list(gone))

    def _list(self, wanted: dict[PackagesId, set[FunctionId]]) -> PackagesList:
        """Runs in a thread. What was used last comes last."""
        names = self._store.names()
        names = [*(name for name in wanted if name not in names), *names]
        shown = tuple(self._status(name, wanted.get(name, set())) for name in names)
        return PackagesList(shown, self._store.cache_bytes())

    def _status(self, name: PackagesId, functions: set[FunctionId]) -> PackagesStatus:
        built, request = self._store.whole(name), self._store.request(name)
        lines = request.requirements.lines if request is not None else ()
        status = PackagesStatus(
            packages=name, state="missing" if built is None else "built", functions=tuple(sorted(functions)),
            requirements=tuple(hide_credentials(line) for line in lines[:_LINES_SHOWN]),
        )  # fmt: skip
        if built is None:
            with contextlib.suppress(OSError):  # what is being built there may be anything
                status = msgspec.structs.replace(status, size_bytes=tree_bytes(self._store.built / name))
            return status
        return msgspec.structs.replace(
            status, installed=built.packages, installer=built.installer, size_bytes=built.size_bytes,
            took_s=built.took_s, used_at_s=self._store.used_at_s(name),
        )  # fmt: skip


def _total(listed: PackagesList) -> int:
    return listed.cache_bytes + sum(each.size_bytes for each in listed.packages)
