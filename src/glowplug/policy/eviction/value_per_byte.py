"""value-per-byte: evict what spares the least seconds of waiting per byte and second."""

from __future__ import annotations

from math import log

from glowplug.policy.eviction import Worth
from glowplug.policy.eviction.offers import PINNED, Offers

_SHORTEST_S = 1e-6
_LEAST_AT_ONCE = 1e-9
_COPIES_EACH = 2.0
"""This many copies ensure one at work, because the devices of the others are busy with other models."""


class ValuePerByte(Offers):
    """The logarithm of rate x seconds saved / bytes, less for what has copies that are seldom needed at
    once."""

    by_value: bool = True

    def offer(self, key: str, node: str, worth: Worth) -> None:
        self.enter(key, node, worth.held_bytes, self.score(worth))

    def score(self, worth: Worth) -> float:
        saved_s, held_bytes = worth.saved_s, worth.held_bytes
        if saved_s < _SHORTEST_S:
            saved_s = _SHORTEST_S
        value = worth.rank + log(saved_s / (held_bytes or 1))
        if worth.copies > 1:
            value += _all_needed(worth.copies, worth.at_once) - _all_needed(1, worth.at_once)
        return value + PINNED if worth.pinned else value


def _all_needed(copies: int, at_once: float) -> float:
    """The logarithm of how likely so many are at work at the same time: Chernoff's bound on the tail of a
    Poisson distribution, which holds for any size."""
    wanted = max(at_once * _COPIES_EACH, _LEAST_AT_ONCE)
    return 0.0 if copies <= wanted else copies - wanted - copies * log(copies / wanted)
