"""What a fork leaves of a program with threads: all of its memory, and of its threads the one that forked.

A lock that another thread held stays held in the child, and what another was about to do is never done. So
whatever lives longer than a call and is used by several threads makes itself anew there.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Renewed(Protocol):
    def renew(self) -> None:
        """In a child that was just forked, by its only thread: takes new locks, and gives up what threads of
        the parent were to do. Waits for nothing, raises nothing, and does not count on others' being renewed.
        """


_kept: WeakSet[Renewed] = WeakSet()


def renew_in_children(one: Renewed) -> None:
    """Has `renew` called in each child of this process, for as long as the object is there."""
    _kept.add(one)


def _renew_all() -> None:
    for one in list(_kept):
        one.renew()


os.register_at_fork(after_in_child=_renew_all)
