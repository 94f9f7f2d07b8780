"""scale-out: a request that finds no idle instance gets a new one, however soon another would be free.

As most function platforms do: what `finish-first` is measured against.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from glowplug.core.rng import Rng
from glowplug.policy.dispatch import CLIMB, WAIT, Choice, DispatchView


class ScaleOut(msgspec.Struct):
    def decide(self, view: DispatchView, ahead: int, now_s: float, rng: Callable[[], Rng]) -> Choice:
        idle = view.idle
        if idle is not None:
            return Choice("run", idle)
        climbing = view.climbing
        if climbing is not None:
            return Choice("run", climbing)
        return CLIMB if view.can_grow else WAIT
