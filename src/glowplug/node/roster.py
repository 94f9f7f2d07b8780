"""Who lives on this node: every process that the agent answers for, by what it was made for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from glowplug.core.commands import Climb, Descend, Target
from glowplug.core.ids import CommandId
from glowplug.node.devices import Residence
from glowplug.node.isolation.cgroups import Group
from glowplug.node.isolation.seats import Seat
from glowplug.node.messages import Failed
from glowplug.node.processes import Process


class Held(msgspec.Struct):
    """What the agent knows of one process it answers for; the process's `owner`."""

    target: Target
    process: Process
    climb: Climb | None
    started_s: float
    seat: Seat
    function: str = ""
    weights: tuple[str, ...] = ()
    """What it may have mapped: its version's weights, in the words of their target, and off devices, where
    others may have it too, their pack."""
    ready: bool = False
    descend: Descend | None = None
    failed: Failed | None = None
    home: Path | None = None
    packages: str = ""
    """What it has installed of its own, by name: an environment's zygote."""
    environment_s: float = 0.0
    """What building its environment took, when it was built for this very climb."""
    readable: tuple[str, ...] = ()
    """What of the host its environment's functions may read."""
    ahead: Group | None = None
    """Where it climbs while nobody waits for it."""
    leaves_disk: bool = False
    """Whether it stands back for the disk: while it climbs and nobody waits for it."""
    hurried: int = 0
    """The class of the processor that was hurried so that it ends soon; 0 for none."""
    moved: bool = False
    """Whether it is in its own control group, so that its children begin there."""
    climbed_cpu_s: float | None = None
    """What its climb took of a processor."""
    residence: Residence | None = None
    """What it has of its device."""
    retriable: bool = False
    """Whether it `failed` by no fault of its function."""
    missing: dict[str, str] = {}
    left_out: dict[str, str] = {}


class Roster:
    """The zygotes of environments by their key, those of functions by version, workers by instance, and the
    other workers of gangs by instance and number.

    Builds are not among them: they belong to `Builds`. Used in the agent's event loop.
    """

    def __init__(self) -> None:
        self.environments: dict[str, Held] = {}
        self.zygotes: dict[str, Held] = {}
        self.workers: dict[int, Held] = {}
        self.parts: dict[str, Held] = {}
        self._left = asyncio.Event()

    def add(self, held: Held) -> None:
        """In place of whoever had its target, whose exit does not remove it."""
        table, key = self._place(held.target)
        table[key] = held

    def find(self, target: Target) -> Held | None:
        """Also while it climbs, and until its exit was seen."""
        table, key = self._place(target)
        return table.get(key)

    def remove(self, held: Held) -> None:
        """Unless another has taken its place."""
        table, key = self._place(held.target)
        if table.get(key) is held:
            del table[key]
        self._left.set()

    def everyone(self) -> list[Held]:
        """Children before their parents."""
        return [
            *self.workers.values(),
            *self.parts.values(),
            *self.zygotes.values(),
            *self.environments.values(),
        ]

    async def empty(self) -> None:
        """Returns when nobody is left."""
        while self.everyone():
            self._left.clear()
            await self._left.wait()

    def climbing(self, climb: CommandId) -> list[Held]:
        """Who is under way by this climb, with the parts of its gang."""
        found = [held for held in self.everyone() if held.climb is not None and held.climb.id == climb]
        heads = tuple(f"{held.target.key}." for held in found if held.target.kind == "instance")
        return found + [held for key, held in self.parts.items() if heads and key.startswith(heads)]

    async def let_go(self, weights: str) -> None:
        """Returns when none of those that are being ended has these weights mapped any more: a version's, or
        those of a pack, whoever has it."""
        while any(held.descend is not None and weights in held.weights for held in self.everyone()):
            self._left.clear()
            await self._left.wait()

    def _place(self, target: Target) -> tuple[dict[Any, Held], str | int]:
        if target.kind == "instance":
            return self.workers, int(target.key)
        tables = {"environment": self.environments, "version": self.zygotes, "part": self.parts}
        return tables[target.kind], target.key
