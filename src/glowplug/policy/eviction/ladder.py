"""ladder: evict what spares the least seconds of waiting per byte soon, as it looks at that moment.

Others rank a holding when it is offered. Here the chance that it is needed depends on when it was used last:
a timer's model is worth nothing just after its call, and all the more just before the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import log

import msgspec

from glowplug.policy.eviction import Worth, fewest
from glowplug.policy.eviction.offers import PINNED

_LEAST = 1e-12


class Ladder(msgspec.Struct):
    """Per node what is offered, with its bytes. Looks at all of a node's offers for each eviction."""

    timely: bool = True
    offers: dict[str, dict[str, int]] = {}
    nodes: dict[str, str] = {}
    bytes_by_node: dict[str, int] = {}

    @property
    def pinned_from(self) -> float:
        return PINNED / 2

    def score(self, worth: Worth) -> float:
        value = log(max(worth.needed * worth.saved_s, _LEAST) / max(1, worth.held_bytes))
        return value + PINNED if worth.pinned else value

    def offer(self, key: str, node: str, worth: Worth) -> None:
        self.withdraw(key)
        self.offers.setdefault(node, {})[key] = worth.held_bytes
        self.nodes[key] = node
        self.bytes_by_node[node] = self.bytes_by_node.get(node, 0) + worth.held_bytes

    def withdraw(self, key: str) -> None:
        node = self.nodes.pop(key, None)
        if node is not None:
            self.bytes_by_node[node] -= self.offers[node].pop(key)

    def evicted(self, key: str) -> None:
        return

    def offered(self, node: str) -> int:
        return self.bytes_by_node.get(node, 0)

    def keys(self) -> Collection[str]:
        return self.nodes.keys()

    def victims(
        self,
        node: str,
        need_bytes: int,
        keep: Collection[str],
        limit: float,
        current: Callable[[str], float],
    ) -> list[str]:
        offers = self.offers.get(node, {})
        ranked = sorted((current(key), key) for key in offers if key not in keep)
        taken: list[str] = []
        freed_bytes = 0
        for score, key in ranked:
            if freed_bytes >= need_bytes or score >= limit:
                break
            taken.append(key)
            freed_bytes += offers[key]
        return fewest(taken, offers.__getitem__, freed_bytes, need_bytes)
