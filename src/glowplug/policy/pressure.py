"""How much of the memory that a node was granted it may hold, while others on its machine take some.

What is left to it is what it holds itself, but for the page cache, which the kernel counts as available, and
what is available beyond a margin. That changes by what others do, and not by what the node loads or gives up.
"""

from __future__ import annotations

import msgspec

_MARGIN_SHARE = 0.05
_MOST_MARGIN_BYTES = 10**9
_STALLED_MARGINS = 2
"""The margin is so much larger while processes wait for memory: then less is available than the kernel
counts."""
_STEP_SHARE = 0.05
"""Of what was granted: smaller changes are not worth telling, unless memory is short."""
_CALM_S = 10.0
"""For so long there has to be more before it counts."""


class Outside(msgspec.Struct, frozen=True):
    """A look at the machine. `own_bytes` are the node's, those in the page cache left out; `stalled` is
    whether processes wait for memory."""

    total_bytes: int
    available_bytes: int
    own_bytes: int
    stalled: bool = False


class Pressure(msgspec.Struct):
    """Of one node. It never asks for `least_bytes`: with less nothing could run at all."""

    granted_bytes: int
    least_bytes: int
    more_since_s: float | None = None
    """Since when there has been more than the node may hold, and the least of it since then."""
    lasting_bytes: int = 0

    def budget(self, outside: Outside, budget_bytes: int, now_s: float) -> int:
        """What the node may hold from now on, where `budget_bytes` were allowed until now. Less at once when
        memory is short, more when it has lasted."""
        margin_bytes = margin(outside.total_bytes, stalled=outside.stalled)
        spare_bytes = outside.available_bytes - margin_bytes
        most_bytes, least_bytes = self.granted_bytes, min(self.least_bytes, self.granted_bytes)
        left_bytes = max(least_bytes, min(most_bytes, outside.own_bytes + spare_bytes))
        step_bytes = int(_STEP_SHARE * most_bytes)
        if left_bytes <= budget_bytes:
            self.more_since_s = None
            is_short = spare_bytes < 0 or budget_bytes - left_bytes > step_bytes
            return left_bytes if is_short else budget_bytes
        if self.more_since_s is None:
            self.more_since_s, self.lasting_bytes = now_s, left_bytes
        self.lasting_bytes = min(self.lasting_bytes, left_bytes)
        is_worth = self.lasting_bytes - budget_bytes > step_bytes or self.lasting_bytes == most_bytes
        if now_s - self.more_since_s < _CALM_S or not is_worth:
            return budget_bytes
        self.more_since_s = None
        return self.lasting_bytes


def margin(total_bytes: int, *, stalled: bool = False) -> int:
    """What a node leaves of the machine's memory to whoever needs some next."""
    margin_bytes = min(int(_MARGIN_SHARE * total_bytes), _MOST_MARGIN_BYTES)
    return margin_bytes * _STALLED_MARGINS if stalled else margin_bytes
