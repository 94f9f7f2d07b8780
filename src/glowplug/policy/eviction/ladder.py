"""ladder: evict what will save the least seconds of waiting per byte soon, judged at that moment.

Other policies rank a holding when it is offered. Here the chance that it is needed depends on when it was
used last: a model that a timer calls is worth nothing just after its call, and much just before the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import heappop, heappush
from math import log

from glowplug.policy.eviction import Worth, fewest
from glowplug.policy.eviction.offers import PINNED, Offers

_LEAST, _SHORTEST_S = 1e-12, 1e-6
_LOOKED_AT = 256
"""So many are scored for an eviction, those that were used the longest ago, or as many more as it takes: to
score ten thousand took 0.4 s."""


class Ladder(Offers):
    """Scores a node's offers anew for each eviction; earlier scores do not count. Offers are kept in the
    order in which they were used last."""

    timely: bool = True
    by_value: bool = True

    def score(self, worth: Worth) -> float:
        spared_s = max(worth.needed, _LEAST) * max(worth.saved_s, _SHORTEST_S)
        value = log(spared_s / max(1, worth.held_bytes))
        return value + PINNED if worth.pinned else value

    def offer(self, key: str, node: str, worth: Worth) -> None:
        self.enter(key, node, worth.held_bytes, worth.used_s + (PINNED if worth.pinned else 0.0))

    def victims(
        self,
        node: str,
        need_bytes: int,
        keep: Collection[str],
        limit: float,
        current: Callable[[str], float],
    ) -> list[str]:
        scores: dict[str, float] = {}
        most, before_bytes = _LOOKED_AT + len(keep), 0
        while True:
            looked_at = self._used_longest_ago(node, most)
            for key in looked_at:
                if key not in keep and key not in scores:
                    scores[key] = current(key)
            taken: list[tuple[str, int]] = []
            freed_bytes = 0
            for score, key in sorted((score, key) for key, score in scores.items()):
                if freed_bytes >= need_bytes or score >= limit:
                    break
                held_bytes = self.offers[key].held_bytes
                taken.append((key, held_bytes))
                freed_bytes += held_bytes
            if freed_bytes >= need_bytes or len(looked_at) < most:
                return fewest(taken, freed_bytes, need_bytes)
            if len(taken) < len(scores) and (
                freed_bytes == before_bytes or not self._rest_may_do(node, scores, freed_bytes, need_bytes)
            ):
                return fewest(taken, freed_bytes, need_bytes)
            most, before_bytes = 4 * most, freed_bytes

    def _rest_may_do(self, node: str, seen: Collection[str], freed_bytes: int, need_bytes: int) -> bool:
        """Whether what is needed could be had if the others there free as much of theirs as those seen: then
        it is worth the time to look at more."""
        seen_bytes = sum(self.offers[key].held_bytes for key in seen)
        return freed_bytes * self.offered(node) >= need_bytes * seen_bytes

    def _used_longest_ago(self, node: str, most: int) -> Collection[str]:
        """All that is on offer there, or the `most` of it that come first."""
        heap, offers = self.heaps.get(node, []), self.offers
        if len(heap) < most:
            return self.offered_at(node)
        found: dict[str, tuple[float, str]] = {}
        while heap and len(found) < most:
            entry = score, key = heappop(heap)
            offer = offers.get(key)
            if offer is not None and offer.node == node and offer.score == score:
                found[key] = entry
        for entry in found.values():
            heappush(heap, entry)
        return found
