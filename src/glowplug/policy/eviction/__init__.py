"""Which idle holding goes when memory is needed.

The controller offers a holding when it becomes idle and withdraws it when it is used, so a policy keeps its
own index and never looks at everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec


class Worth(msgspec.Struct, frozen=True, gc=False):
    """What a holding's worth is made of.

    `rank` is the logarithm of how often it is asked for (Arrivals.rank). `saved_s` is how many seconds it
    saves a request by being there. `pinned` says that the user asked for it to stay. `copies` is how many
    there are, including itself, and `at_once` how many of them are at work at a time, on average. `needed`
    is the probability that it is asked for soon, if the policy is `timely`. `used_s` is when it was used
    last, and `uses` how often since it came, as far as that is counted.
    """

    rank: float
    saved_s: float
    held_bytes: int
    pinned: bool = False
    copies: int = 1
    needed: float = 0.0
    at_once: float = 0.0
    used_s: float = 0.0
    uses: float = 1.0


class EvictionPolicy(Protocol):
    @property
    def timely(self) -> bool:
        """Whether a worth changes with time, so that it is computed again when something has to go."""

    @property
    def by_value(self) -> bool:
        """Whether scores say what a byte is worth, comparably for workers, zygotes and weights. Then a
        victim may go together with all that it stands on. Else each of these goes by itself, when it is on
        offer."""

    @property
    def pinned_from(self) -> float:
        """The limit of `victims` that spares all that is pinned."""

    def offer(self, key: str, node: str, worth: Worth) -> None:
        """`key` may go from now on; offering again replaces its worth."""

    def withdraw(self, key: str) -> None:
        """`key` may not go (or is gone). Not an error when it was not offered."""

    def evicted(self, key: str) -> None:
        """`key`, still on offer, goes now for the room that it takes."""

    def score(self, worth: Worth) -> float:
        """Comparable with the `limit` of `victims`."""

    def offered(self, node: str) -> int:
        """Bytes that could be had at `node`."""

    def victims(
        self,
        node: str,
        need_bytes: int,
        keep: Collection[str],
        limit: float,
        current: Callable[[str], float],
    ) -> list[str]:
        """The least worthy holdings that free `need_bytes`, none in `keep`, none worth `limit` or more.
        `current` gives the score of what is offered as it is now.

        When they are not enough all that there are: what stood below them may be offered once they are gone.
        """

    def keys(self) -> Collection[str]:
        """All that is offered."""

    def forget(self, node: str) -> None:
        """It is gone, and nothing is offered there any more."""


def fewest(taken: Sequence[tuple[str, int]], freed_bytes: int, need_bytes: int) -> list[str]:
    """Of victims and their bytes, in the order of their worth, those that are really needed. The worthiest
    are spared first."""
    chosen = []
    for key, held_bytes in reversed(taken):
        if freed_bytes - held_bytes >= need_bytes:
            freed_bytes -= held_bytes
        else:
            chosen.append(key)
    chosen.reverse()
    return chosen
