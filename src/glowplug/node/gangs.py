"""Gangs on this node: the shared memory of each, from its admission to the end of its last process.

seat of the version/glowplug-INSTANCE/   a mailbox for each worker (distributed/channels/shared_memory)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from glowplug.core.commands import AdmitGang, Climb, Target
from glowplug.core.errors import GlowplugError
from glowplug.distributed.channels.shared_memory import SharedMemoryRoom
from glowplug.node.isolation.seats import Seat
from glowplug.node.messages import Place
from glowplug.node.roster import Held

if TYPE_CHECKING:
    from glowplug.node.agent import Agent


class _Gang(msgspec.Struct):
    room: SharedMemoryRoom
    seat: Seat
    workers: int
    coming: set[int]
    """Whose climbs were announced, and did not come yet."""
    here: set[int]


class Gangs:
    """Of one agent, in its event loop."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._gangs: dict[str, _Gang] = {}

    def open(self, command: AdmitGang) -> None:
        """Makes the gang's shared memory. What goes wrong is found again by its climbs."""
        seat = self._agent.births.serving(command.spec)
        room = SharedMemoryRoom(str(seat.folder))
        try:
            room.open(str(command.head), command.workers)
            seat.hand_over(room.path, room.path.iterdir())
        except (GlowplugError, OSError) as error:
            print(f"the shared memory of gang {command.head} cannot be made: {error}")
            room.close()
            self._agent.births.vacate(seat)
            return
        members = set(range(command.workers))
        self._gangs[str(command.head)] = _Gang(room, seat, command.workers, members, set())

    def place(self, command: Climb) -> Place | None:
        """Where whom this climb is of stands in its gang; None when it is of none. Raises OSError when its
        gang is not there."""
        if command.facts is None or not command.facts.parts:
            return None
        name, worker = _member(command.target)
        gang = self._gangs.get(name)
        if gang is None:
            raise OSError(f"the shared memory of gang {name} is not there")
        gang.coming.discard(worker)
        gang.here.add(worker)
        return Place(str(gang.room.path), name, gang.workers, worker)

    def fork_part(self, command: Climb, parent: Held, env: dict[str, str]) -> None:
        """Starts another worker than the head. Raises OSError."""
        agent, spec = self._agent, command.spec
        place = self.place(command)
        if place is None:
            agent.fail(command, "unavailable", f"{spec.function} is on one worker")
            return
        more: dict[str, Any] = {"env": env, **agent.births.share(spec)}
        held = agent.births.child(parent, "part", command.target, spec, climb=command, gang=place, **more)
        agent.standing_back.begin(held, command)
        agent.roster.add(held)

    def left(self, held: Held) -> None:
        """A process ended, or never began: the last of a gang takes its memory with it."""
        if held.target.kind in ("instance", "part"):
            self.gave_up(held.target)

    def gave_up(self, target: Target) -> None:
        """Nobody will be at this place."""
        name, worker = _member(target)
        gang = self._gangs.get(name)
        if gang is None:
            return
        gang.coming.discard(worker)
        gang.here.discard(worker)
        if not worker:
            gang.coming.clear()
        if not gang.coming and not gang.here:
            del self._gangs[name]
            self._agent.disk.submit(gang.room.close)
            self._agent.births.vacate(gang.seat)


def _member(target: Target) -> tuple[str, int]:
    name, _, worker = target.key.partition(".")
    return name, int(worker or 0)
