"""lru: evict what was used the longest ago."""

from __future__ import annotations

from glowplug.policy.eviction import Worth
from glowplug.policy.eviction.offers import PINNED, Offers


class LeastRecentlyUsed(Offers):
    """As each device's cache in Zhao et al. (IPDPS 2023)."""

    def offer(self, key: str, node: str, worth: Worth) -> None:
        self.enter(key, node, worth.held_bytes, self.score(worth))

    def score(self, worth: Worth) -> float:
        return worth.used_s + PINNED if worth.pinned else worth.used_s
