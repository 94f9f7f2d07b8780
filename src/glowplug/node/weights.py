"""The weights that this node has: their packs on its disk, and what of them lies in the page cache."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from glowplug.core.commands import Descend
from glowplug.core.events import StepLost
from glowplug.core.ids import VersionId
from glowplug.core.ladder import Step
from glowplug.loader.pagecache import evict_page_cache, page_cache_bytes
from glowplug.node.messages import CacheWeights, MapPages
from glowplug.node.processes import Process

if TYPE_CHECKING:
    from glowplug.node.agent import Agent

_CHUNK_BYTES = 4 * 2**20
_ANSWERS_S = 5.0
"""For all zygotes together. They run their functions' own code, which may hold them up."""


class Weights:
    """All weights of one agent, in its event loop; the disk's work in its disk thread."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._asked: dict[Process, deque[asyncio.Event]] = {}
        """Zygotes that were asked to map or unmap pages, and who waits for each answer, in order."""

    def path(self, name: str) -> Path | None:
        """The pack of this name, or that of a version, or of its part as in VERSION.1, when it is here."""
        store = self.agent.store
        path = store.pack_path(self._pack(name) or name)
        return path if path.exists() else None

    def _pack(self, name: str) -> str:
        """The pack of a version or of its part; empty when it has none, and when this is no version here."""
        version, _, worker = name.partition(".")
        manifest = self.agent.store.described(VersionId(version))
        return manifest.pack_of(int(worker or 0)) if manifest is not None else ""

    async def cache(self, message: CacheWeights) -> int:
        """Reads a version's pack into the page cache, or drops it there. Returns the bytes resident then.

        The pages that zygotes have mapped could not be dropped, so they unmap them first: all that have this
        pack, whosever they are. Those that do not answer in time keep them. Raises OSError.
        """
        path = self.path(message.version)
        if path is None:
            return 0
        if not message.cached:
            await self._map_pages(path.stem, False)
        await self.agent.on_disk(_read_through if message.cached else evict_page_cache, path)
        if message.cached:
            await self._map_pages(path.stem, True)
        resident_bytes: int = await self.agent.on_disk(page_cache_bytes, path)
        return resident_bytes

    async def evict(self, command: Descend) -> None:
        """Drops weights from the page cache, a version's or a pack's, once the processes have ended that were
        to end before: pages that are mapped would stay. Outcome: StepLost.

        A request may wait for this memory: not in the disk's thread, where others write and clean up.
        """
        path = self.path(command.target.key)
        await self.agent.roster.let_go(command.target.key)
        if path is not None:
            with contextlib.suppress(OSError):  # the kernel drops what it needs the room of anyway
                await asyncio.to_thread(evict_page_cache, path)
        self.agent.emit(StepLost(command.target, Step.LOCAL, command.why, command.id))

    def on_mapped(self, process: Process) -> None:
        """A zygote did what it was asked to do first."""
        waiting = self._asked.get(process)
        if waiting:
            waiting.popleft().set()

    def on_exit(self, process: Process) -> None:
        """A zygote is gone: nobody waits for it any longer."""
        for done in self._asked.pop(process, ()):
            done.set()

    async def _map_pages(self, pack: str, mapped: bool) -> None:
        """Has the zygotes that have this pack map or unmap it. Returns when they have, or had long enough.

        An answer that comes later is to what was asked first.
        """
        waiting: list[asyncio.Event] = []
        for staged in self.agent.roster.zygotes.values():
            if pack in staged.weights and staged.ready and staged.process.send(MapPages(mapped)):
                waiting.append(asyncio.Event())
                self._asked.setdefault(staged.process, deque()).append(waiting[-1])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWERS_S):
                for done in waiting:
                    await done.wait()


def _read_through(path: Path) -> None:
    """Brings a file into the page cache."""
    buffer = bytearray(_CHUNK_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
