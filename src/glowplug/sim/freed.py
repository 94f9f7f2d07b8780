"""What of a node's memory was let go a moment ago, in virtual time."""

from __future__ import annotations

from collections import defaultdict

import msgspec

GIVEN_BACK_S = 8.0
"""A virtual machine's kernel tells its host of some of the free memory every two seconds (free page
reporting): half of what was let go after so long, as its counter said (decision 069). The host takes it, and
who needs it then waits until it is there again."""


class _Freed(msgspec.Struct):
    at_s: float
    nbytes: int


class FreedMemory:
    """Of all nodes."""

    def __init__(self) -> None:
        self._freed: defaultdict[str, list[_Freed]] = defaultdict(list)

    def let_go(self, node: str, at_s: float, nbytes: int) -> None:
        """So much is free from then on, which may be yet to come."""
        self._freed[node].append(_Freed(at_s, nbytes))

    def take(self, node: str, now_s: float, nbytes: int) -> int:
        """How many of the bytes that somebody needs now were let go less than GIVEN_BACK_S ago. They are
        taken, the latest first."""
        freed = self._freed[node]
        freed[:] = [each for each in freed if each.nbytes and each.at_s > now_s - GIVEN_BACK_S]
        found = 0
        for each in sorted(freed, key=lambda each: each.at_s, reverse=True):
            if each.at_s <= now_s:
                taken = min(each.nbytes, nbytes - found)
                each.nbytes -= taken
                found += taken
        return found
