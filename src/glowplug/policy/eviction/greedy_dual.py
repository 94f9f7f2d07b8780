"""greedy-dual: evict the least of clock + uses x cost / size, where the clock is what was evicted last.

Source: Fuerst and Sharma, "FaasCache: Keeping Serverless Computing Alive with Greedy-Dual Caching" (ASPLOS
2021), which counts a function's uses until its last container is gone. Here each copy counts its own since it
came, and each node and device has a clock of its own, for it evicts by itself.
"""

from __future__ import annotations

from glowplug.policy.eviction import Worth
from glowplug.policy.eviction.offers import PINNED, Offers


class GreedyDual(Offers):
    """`based` has by key when it was last used, and the clock at that time."""

    clocks: dict[str, float] = {}  # noqa: RUF012
    based: dict[str, tuple[float, float]] = {}  # noqa: RUF012

    def offer(self, key: str, node: str, worth: Worth) -> None:
        before = self.based.get(key)
        unused = before is not None and before[0] == worth.used_s
        clock = before[1] if before is not None and unused else self.clocks.get(node, 0.0)
        self.enter(key, node, worth.held_bytes, clock + _value(worth))
        self.based[key] = (worth.used_s, clock)

    def withdraw(self, key: str) -> None:
        super().withdraw(key)
        self.based.pop(key, None)

    def forget(self, node: str) -> None:
        super().forget(node)
        self.clocks.pop(node, None)

    def evicted(self, key: str) -> None:
        offer = self.offers.get(key)
        if offer is not None and offer.score < self.pinned_from:
            self.clocks[offer.node] = max(self.clocks.get(offer.node, 0.0), offer.score)

    def score(self, worth: Worth) -> float:
        """The score of a holding that would come now, at the node where most was evicted."""
        return max(self.clocks.values(), default=0.0) + _value(worth)


def _value(worth: Worth) -> float:
    value = max(1.0, worth.uses) * worth.saved_s / max(1, worth.held_bytes)
    return value + PINNED if worth.pinned else value
