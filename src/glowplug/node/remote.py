"""Climbs from `remote`: the pack is in the artifact store and not on this node's disk."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import msgspec

from glowplug.core.commands import Climb, Target
from glowplug.core.ids import CommandId
from glowplug.node import wire
from glowplug.node.share import io_class
from glowplug.node.streams import Streams

if TYPE_CHECKING:
    from glowplug.node.agent import Agent


class RemoteClimbs:
    """A worker that somebody waits for starts as soon as the pack can be mapped, and its first pass
    overlaps the fetch, which is of the class of who waits. So does one that goes to a device, whose copies
    follow what arrives. All else starts when the pack is whole, and is fetched in the background class."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._streams = Streams(agent)
        self._waiting: dict[Target, Climb] = {}
        self._begun: dict[CommandId, str] = {}
        """Climbs under way whose packs still come."""

    def needed(self, command: Climb) -> bool:
        """Whether this climb has to fetch its pack first."""
        pack = command.facts.pack if command.facts is not None else ""
        return bool(pack) and self._streams.missing(pack)

    def start(self, command: Climb, env: dict[str, str], descriptors: list[int]) -> None:
        """Climbs when it can. The descriptors stay their owner's. Outcome: as for any climb."""
        self._waiting[command.target] = command
        self._agent.spawn(self._climb(command, env, [os.dup(descriptor) for descriptor in descriptors]))

    def promote(self, climb: CommandId, rank: int) -> None:
        """A request of that class waits for this climb now: its fetch goes before those of lower ones."""
        for target, command in self._waiting.items():
            if command.id == climb and command.facts is not None:
                self._waiting[target] = msgspec.structs.replace(command, priority=rank)
                self._streams.hurry(command.facts.pack, io_class(rank))
        pack = self._begun.get(climb)
        if pack is not None:
            self._streams.hurry(pack, io_class(rank))

    def give_up(self, target: Target) -> bool:
        """Whether a climb to this target waited here; it will not happen."""
        return self._waiting.pop(target, None) is not None

    async def _climb(self, command: Climb, env: dict[str, str], data: list[int]) -> None:
        agent = self._agent
        assert command.facts is not None
        pack = command.facts.pack
        waited_for = command.target.kind == "instance" and not command.prime
        asked_s = time.monotonic()
        failed: Exception | None = None
        stream = self._streams.fetch(pack, io_class(command.priority if waited_for else 0))
        try:
            await asyncio.shield(stream.opened if waited_for else stream.whole)
        except Exception as error:
            failed = error
        try:
            waiting = self._take(command)
            if waiting is None:
                return
            command = waiting
            if failed is not None:
                raise failed
            parent = agent.climbs.parent_of(command)
            if parent is None:
                agent.fail(command, "unavailable", f"no zygote to fork {command.spec.function} from")
                return
            arriving = waited_for and not stream.whole.done()
            if arriving:
                # Open, for the file will get another name while the worker starts.
                data.append(os.open(stream.path, os.O_RDONLY | os.O_CLOEXEC))
                data.append(stream.listen())
                self._begun[command.id] = pack
                stream.whole.add_done_callback(lambda _: self._begun.pop(command.id, None))
            fetched_s = time.monotonic() - asked_s
            agent.climbs.fork(
                command, parent, env, data, stream if arriving else None,
                arriving=arriving, fetched_s=fetched_s,
            )  # fmt: skip
        except Exception as error:
            agent.fail(command, "weights", f"{command.spec.function}: its weights cannot be fetched: {error}")
        finally:
            wire.close_all(data)

    def _take(self, command: Climb) -> Climb | None:
        """The climb, of the class that it has by now, if it still waits here; it does no longer. Another one
        to the same target may, since this one was given up."""
        waiting = self._waiting.get(command.target)
        if waiting is None or waiting.id != command.id:
            return None
        return self._waiting.pop(command.target)
