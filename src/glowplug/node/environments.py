"""Environments with packages of their own: installed when a climb first needs them, once for all
functions.

See bundle/environments.py for what is on the disk, installation.py for one build and installer.py for its
process.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from glowplug.bundle.trees import remove_tree
from glowplug.core.commands import Climb, Target
from glowplug.core.errors import GlowplugError, Unavailable
from glowplug.core.events import ClimbProgress
from glowplug.core.ids import PackagesId
from glowplug.node import guard
from glowplug.node.installation import Installation, source_user
from glowplug.node.messages import PackagesRemoved, RemovePackages

if TYPE_CHECKING:
    from glowplug.node.agent import Agent

_AT_ONCE = 2


class Environments:
    """All of one agent, in its event loop; the disk's work in threads."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._store = agent.store.environments
        self._installations: dict[PackagesId, Installation] = {}
        self._waiting: dict[Target, Climb] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def clean_up(self) -> None:
        """Ends and removes what an agent before this one was building. Call it before anything else: it
        blocks. Raises OSError."""
        for attempt in self._store.attempts():
            uid = self._agent.births.uid(source_user(attempt.name))
            if uid is not None:
                guard.kill_user(uid)
            remove_tree(attempt)

    def climb(self, command: Climb) -> None:
        """An environment's zygote, with its packages installed first when they are not. Raises OSError."""
        name = command.spec.packages
        if not name:
            held = self._agent.births.environment(command)
            # For the processor it is of the highest class, since all of its functions come from it.
            self._agent.standing_back.leave_disk(held, command)
            self._agent.roster.add(held)
        elif name not in self._installations and self._store.whole(name) is not None:
            self._begin(command, 0.0)
        else:
            self._waiting[command.target] = command
            work = self._installation(name)
            work.climbs.append(command)
            self._agent.spawn(self._climb(command, work))

    def give_up(self, target: Target) -> bool:
        """Whether a climb to this target waited here; it will not happen. A build that nobody else waits for
        ends."""
        command = self._waiting.pop(target, None)
        if command is None:
            return False
        found = self._installations.get(command.spec.packages)
        if found is not None and command in found.climbs:
            found.climbs.remove(command)
            if not found.climbs:
                found.kill()
        return True

    async def remove(self, message: RemovePackages) -> None:
        """Removes what is not in use. Always answers: somebody waits."""
        gone: list[str] = []
        try:
            for name in message.names:
                # Asked of each when its turn comes: to remove the one before it took a while.
                if self._is_used(name):
                    continue
                hidden = self._store.take_away(name)
                if hidden is not None:
                    gone.append(name)
                    await asyncio.to_thread(remove_tree, hidden)
            hidden = self._store.take_cache_away() if message.cache and not self._installations else None
            if hidden is not None:
                await asyncio.to_thread(remove_tree, hidden)
        finally:
            self._agent.tell(PackagesRemoved(message.token, tuple(gone)))

    def _is_used(self, name: str) -> bool:
        held = (each.packages for each in self._agent.roster.environments.values())
        return name in self._installations or name in held

    def _installation(self, name: PackagesId) -> Installation:
        """The one under way, or a new one: one that was given up only has to get out of the way first."""
        found = self._installations.get(name)
        if found is None or found.given_up:
            before = found
            found = self._installations[name] = Installation(self._agent, name)
            self._agent.spawn(self._run(found, before))
        return found

    async def _run(self, work: Installation, before: Installation | None) -> None:
        if before is not None:
            await asyncio.wait([before.done])
        try:
            await work.run(self._turns)
        finally:
            if self._installations.get(work.name) is work:
                del self._installations[work.name]

    async def _climb(self, command: Climb, work: Installation) -> None:
        asked_s = time.monotonic()
        self._agent.emit(ClimbProgress(command.id, "environment", time.time()))
        error: GlowplugError | None = None
        try:
            await asyncio.shield(work.done)
        except GlowplugError as caught:
            error = caught
        if self._waiting.get(command.target) is not command:
            return
        del self._waiting[command.target]
        if error is not None:
            permanent = not isinstance(error, Unavailable)
            message = f"{command.spec.function}: {error.message}"
            self._agent.fail(command, error.code, message, permanent)
            return
        self._agent.emit(ClimbProgress(command.id, "import", time.time()))
        try:
            self._begin(command, time.monotonic() - asked_s)
        except OSError as failure:
            self._agent.fail(command, "unavailable", str(failure))

    def _begin(self, command: Climb, environment_s: float) -> None:
        name = command.spec.packages
        built = self._store.whole(name)
        if built is None:
            raise FileNotFoundError(f"the packages of {command.spec.function} were removed just now")
        self._store.used(name)
        python = self._store.python(name, built)
        held = self._agent.births.environment(command, python, environment_s)
        held.packages = name
        if not environment_s:  # else somebody may wait by now
            self._agent.standing_back.leave_disk(held, command)
        self._agent.roster.add(held)
