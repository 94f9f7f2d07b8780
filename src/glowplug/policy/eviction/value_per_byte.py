"""value-per-byte: evict what spares the least seconds of waiting per byte and second."""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush
from math import log

import msgspec

from glowplug.policy.eviction import Worth, fewest

_PINNED = 1e9
"""Above every rank, which grows with the time in windows: 3e6 today for a clock that counts from 1970."""
_SHORTEST_S = 1e-6
_STALE_ALLOWED = 64


class _Offer(msgspec.Struct):
    score: float
    node: str
    held_bytes: int


class ValuePerByte(msgspec.Struct):
    """Per node a heap of (score, key). Withdrawn entries stay in it until they come up or are too many."""

    timely: bool = False
    offers: dict[str, _Offer] = {}
    heaps: dict[str, list[tuple[float, str]]] = {}
    bytes_by_node: dict[str, int] = {}

    @property
    def pinned_from(self) -> float:
        return _PINNED / 2

    def score(self, worth: Worth) -> float:
        value = worth.rank + log(max(worth.saved_s, _SHORTEST_S) / max(1, worth.held_bytes))
        return value + _PINNED if worth.pinned else value

    def offer(self, key: str, node: str, worth: Worth) -> None:
        self.withdraw(key)
        score = self.score(worth)
        self.offers[key] = _Offer(score, node, worth.held_bytes)
        self.bytes_by_node[node] = self.bytes_by_node.get(node, 0) + worth.held_bytes
        heap = self.heaps.setdefault(node, [])
        heappush(heap, (score, key))
        if len(heap) > 2 * len(self.offers) + _STALE_ALLOWED:
            heap[:] = [(o.score, k) for k, o in self.offers.items() if o.node == node]
            heapify(heap)

    def withdraw(self, key: str) -> None:
        offer = self.offers.pop(key, None)
        if offer is not None:
            self.bytes_by_node[offer.node] -= offer.held_bytes

    def offered(self, node: str) -> int:
        return self.bytes_by_node.get(node, 0)

    def keys(self) -> Collection[str]:
        return self.offers.keys()

    def victims(
        self,
        node: str,
        need_bytes: int,
        keep: Collection[str],
        limit: float,
        current: Callable[[str], float],
    ) -> list[str]:
        heap = self.heaps.get(node, [])
        taken: dict[str, tuple[float, str]] = {}
        freed_bytes = 0
        spared: list[tuple[float, str]] = []
        while heap and freed_bytes < need_bytes and heap[0][0] < limit:
            entry = heappop(heap)
            offer = self.offers.get(entry[1])
            if offer is None or offer.score != entry[0] or entry[1] in taken:
                continue
            if entry[1] in keep:
                spared.append(entry)
            else:
                taken[entry[1]] = entry
                freed_bytes += offer.held_bytes
        for entry in (*spared, *taken.values()):
            heappush(heap, entry)
        offers = self.offers
        return fewest(list(taken), lambda key: offers[key].held_bytes, freed_bytes, need_bytes)
