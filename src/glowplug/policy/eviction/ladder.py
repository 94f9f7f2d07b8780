"""ladder: evict what spares the least seconds of waiting per byte soon, as it looks at that moment.

Others rank a holding when it is offered. Here the chance that it is needed depends on when it was used last:
a timer's model is worth nothing just after its call, and all the more just before the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import log

from glowplug.policy.eviction import Worth, fewest
from glowplug.policy.eviction.offers import PINNED, Offers

_LEAST = 1e-12


class Ladder(Offers):
    """Looks at all of a node's offers for each eviction: their scores from before are nothing to it."""

    timely: bool = True
    by_value: bool = True

    def score(self, worth: Worth) -> float:
        value = log(max(worth.needed * worth.saved_s, _LEAST) / max(1, worth.held_bytes))
        return value + PINNED if worth.pinned else value

    def offer(self, key: str, node: str, worth: Worth) -> None:
        self.enter(key, node, worth.held_bytes, 0.0)

    def victims(
        self,
        node: str,
        need_bytes: int,
        keep: Collection[str],
        limit: float,
        current: Callable[[str], float],
    ) -> list[str]:
        ranked = sorted((current(key), key) for key in self.offered_at(node) if key not in keep)
        taken: list[tuple[str, int]] = []
        freed_bytes = 0
        for score, key in ranked:
            if freed_bytes >= need_bytes or score >= limit:
                break
            held_bytes = self.offers[key].held_bytes
            taken.append((key, held_bytes))
            freed_bytes += held_bytes
        return fewest(taken, freed_bytes, need_bytes)
