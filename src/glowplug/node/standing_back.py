"""What stands back for the processor: climbs that nobody waits for. And what may not: who is to end, when
somebody waits for its memory, has to run for that itself."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable

from glowplug.core.commands import Climb
from glowplug.core.priority import NICE, Priority
from glowplug.node.births import move
from glowplug.node.isolation.cgroups import Group, Groups
from glowplug.node.isolation.limits import processor_shares
from glowplug.node.isolation.seats import Seat
from glowplug.node.roster import Held


class StandingBack:
    """Of one agent, in its event loop; without groups it does nothing. `later` moves a process, in turn."""

    def __init__(self, groups: Groups | None, later: Callable[..., object]) -> None:
        self._groups = groups if groups is not None and groups.by_class else None
        self._later = later
        self._hurried: Counter[int] = Counter()

    def begin(self, held: Held, climb: Climb) -> None:
        """To be called before the process is born. Where there is no other group it climbs in its own."""
        if climb.priority == Priority.BACKGROUND:
            with contextlib.suppress(OSError):
                held.ahead = self._behind(held.seat)

    def come_forward(self, held: Held) -> None:
        """Somebody waits for it now, or it has climbed."""
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
