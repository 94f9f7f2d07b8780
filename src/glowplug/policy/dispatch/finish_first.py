"""finish-first: a request goes where wait + climb + run is smallest.

Source: Zhao et al., "GPU-enabled Function-as-a-Service for Machine Learning Inference" (IPDPS 2023), whose
rule of the least expected finish is extended here by the climb as one more way to wait.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from glowplug.core.rng import Rng
from glowplug.policy.dispatch import CLIMB, WAIT, Choice, DispatchView


class FinishFirst(msgspec.Struct):
    """No state of its own: costs are the controller's.

    An instance in use that has room is preferred to the queue: room there is only where waiting in its socket
    is worth more than waiting for whichever instance is free first (control/capacity.py).
    """

    def decide(self, view: DispatchView, ahead: int, now_s: float, rng: Callable[[], Rng]) -> Choice:
        idle = view.idle
        if idle is not None:
            return Choice("run", idle)
        if not view.serving:
            return CLIMB if view.can_grow else WAIT
        spare = view.spare
        if spare is None:
            best, start_s = WAIT, view.free_in_s
        else:
            best, start_s = Choice("run", spare[0]), spare[1]
        start_s += ahead * view.run_s / view.serving
        climbing = view.climbing
        if climbing is not None and view.climbing_left_s <= start_s:
            best, start_s = Choice("run", climbing), view.climbing_left_s
        if view.can_grow and view.grow_s < start_s:
            best = CLIMB
        return best
