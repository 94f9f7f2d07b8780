"""What is on offer at each node, in the order in which it would go."""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush
from itertools import chain

import msgspec

from glowplug.policy.eviction import fewest

PINNED = 1e12
"""Added to the score of what is pinned: above every rank and every time, also by a clock that counts from
1970."""
_STALE_ALLOWED = 64


class Offer(msgspec.Struct, gc=False):
    score: float
    node: str
    held_bytes: int


class Offers(msgspec.Struct):
    """Per node a heap of (score, key): everything that an eviction policy needs except its score.
    Withdrawn entries stay in the heap until they come up or are too many.

    Entries that `victims` has looked at move to a sorted list beside the heap. Most of them are looked at
    again the next time, and taking the least out of a large heap and putting it back was a twentieth of a
    decision's cost.
    """

    timely: bool = False
    by_value: bool = False
    offers: dict[str, Offer] = {}
    heaps: dict[str, list[tuple[float, str]]] = {}
    fronts: dict[str, list[tuple[float, str]]] = {}
    bytes_by_node: dict[str, int] = {}

    @property
    def pinned_from(self) -> float:
        return PINNED / 2

    def enter(self, key: str, node: str, held_bytes: int, score: float) -> None:
        offered = self.bytes_by_node
        before = self.offers.pop(key, None)
        if before is not None:
            offered[before.node] -= before.held_bytes
        self.offers[key] = Offer(score, node, held_bytes)
        offered[node] = offered.get(node, 0) + held_bytes
        heap = self.heaps.get(node)
        if heap is None:
            heap = self.heaps[node] = []
        heappush(heap, (score, key))
        if len(heap) > 2 * len(self.offers) + _STALE_ALLOWED:
            self._rebuild(node)

    def _rebuild(self, node: str) -> None:
        self.fronts.pop(node, None)
        heap = self.heaps[node] = [(o.score, k) for k, o in self.offers.items() if o.node == node]
        heapify(heap)

    def withdraw(self, key: str) -> None:
        offer = self.offers.pop(key, None)
        if offer is not None:
            self.bytes_by_node[offer.node] -= offer.held_bytes

    def evicted(self, key: str) -> None:
        return

    def offered(self, node: str) -> int:
        return self.bytes_by_node.get(node, 0)

    def offered_at(self, node: str) -> set[str]:
        """What is on offer there, each once, in no order."""
        entries, offers = chain(self.heaps.get(node, ()), self.fronts.get(node, ())), self.offers
        return {key for _, key in entries if (offer := offers.get(key)) is not None and offer.node == node}

    def keys(self) -> Collection[str]:
        return self.offers.keys()

    def forget(self, node: str) -> None:
        self.heaps.pop(node, None)
        self.fronts.pop(node, None)
        self.bytes_by_node.pop(node, None)

    def victims(
        self,
        node: str,
        need_bytes: int,
        keep: Collection[str],
        limit: float,
        current: Callable[[str], float],
    ) -> list[str]:
        heap, front, offers = self.heaps.get(node, []), self.fronts.get(node, []), self.offers
        taken: list[tuple[str, int]] = []
        seen: list[tuple[float, str]] = []
        freed_bytes, place, last = 0, 0, None
        while freed_bytes < need_bytes:
            if place < len(front) and not (heap and heap[0] < front[place]):
                entry = front[place]
                place += 1
            elif heap:
                entry = heappop(heap)
            else:
                break
            score, key = entry
            offer = offers.get(key)
            # What was offered twice at one score has two entries, one right after the other.
            if offer is None or offer.node != node or offer.score != score or entry == last:
                continue
            last = entry
            seen.append(entry)
            if score >= limit:
                break
            if key not in keep:
                taken.append((key, offer.held_bytes))
                freed_bytes += offer.held_bytes
        if place or seen:
            self.fronts[node] = seen + front[place:]
            if len(self.fronts[node]) > 2 * len(offers) + _STALE_ALLOWED:
                self._rebuild(node)
        return fewest(taken, freed_bytes, need_bytes)
