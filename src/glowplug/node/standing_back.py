"""What stands back for the processor and the disk: climbs that nobody waits for. And what may not: who is to
end, when somebody waits for its memory, has to run for that itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

from glowplug.core.commands import Climb
from glowplug.core.priority import NICE, Priority
from glowplug.loader.io_priority import AS_NICE, IDLE, LOWEST, PATIENCE_S, set_io_priority
from glowplug.node.births import move
from glowplug.node.isolation.cgroups import Group, Groups
from glowplug.node.isolation.limits import processor_shares
from glowplug.node.isolation.seats import Seat
from glowplug.node.roster import Held


class StandingBack:
    """Of one agent, in its event loop; without groups it does nothing for the processor. `later` moves a
    process, in turn. For the disk it asks at once: a child would inherit what its zygote has by then."""

    def __init__(self, groups: Groups | None, later: Callable[..., object]) -> None:
        self._groups = groups if groups is not None and groups.by_class else None
        self._later = later
        self._hurried: Counter[int] = Counter()

    def begin(self, held: Held, climb: Climb) -> None:
        """To be called before the process is born. Where there is no other group it climbs in its own."""
        self.leave_disk(held, climb)
        if climb.priority == Priority.BACKGROUND:
            with contextlib.suppress(OSError):
                held.ahead = self._behind(held.seat)

    def leave_disk(self, held: Held, climb: Climb) -> None:
        """It stands back for the disk alone, from its birth on, or from now on if it is born; also when it
        is of no class, for nobody waits then either."""
        if climb.priority <= Priority.BACKGROUND:
            held.leaves_disk = True
            self.born(held)
            asyncio.get_running_loop().call_later(PATIENCE_S, self._share_disk, held)

    def born(self, held: Held) -> None:
        """It exists; as long as it does not this does nothing."""
        if held.leaves_disk and held.process.pid:
            _ask_disk(held, IDLE)

    def _share_disk(self, held: Held) -> None:
        """It climbs for long: nobody starves."""
        if held.leaves_disk and held.process.pid and not held.process.exited:
            _ask_disk(held, LOWEST)

    def come_forward(self, held: Held) -> None:
        """Somebody waits for it now, or it has climbed."""
        if held.leaves_disk:
            held.leaves_disk = False
            if held.process.pid:
                _ask_disk(held, AS_NICE)
        if held.ahead is not None:
            held.ahead = None
            if held.process.pid:  # else it goes to its own group when it is born
                self._later(move, held, held.seat.group)

    def hurry(self, held: Held) -> None:
        """It is to end, and somebody waits for that: until then its class weighs as the highest."""
        bounds = held.seat.bounds
        if self._groups is None or bounds is None or held.hurried:
            return
        rank = bounds.rank if held.ahead is None else Priority.BACKGROUND
        if rank < Priority.INTERACTIVE:
            held.hurried = rank
            self._hurried[rank] += 1
            self._groups.weigh_class(rank, Priority.INTERACTIVE)

    def ended(self, held: Held) -> None:
        """Not an error for one that was not hurried."""
        rank, held.hurried = held.hurried, 0
        if rank and self._groups is not None:
            self._hurried[rank] -= 1
            if not self._hurried[rank]:
                self._groups.weigh_class(rank, rank)

    def _behind(self, seat: Seat) -> Group | None:
        """The seat's group in the background class. Raises OSError."""
        bounds = seat.bounds
        if self._groups is None or seat.group is None or bounds is None or bounds.rank <= Priority.BACKGROUND:
            return None
        if seat.ahead is None:
            shares = processor_shares(NICE[Priority.BACKGROUND], 1)
            behind = bounds._replace(shares=shares, rank=Priority.BACKGROUND)
            seat.ahead = self._groups.beside(seat.group, f"{seat.folder.name}-ahead", behind)
        return seat.ahead


def _ask_disk(held: Held, priority: int) -> None:
    """Of all its threads, and of what it started in its group. One that was just forked has none yet."""
    set_io_priority(priority, held.process.pid)
    set_io_priority(priority, held.process.pid, group=True)
