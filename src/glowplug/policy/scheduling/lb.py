"""lb: the head of the queue goes to any free device.

Source: the load balancing baseline of Zhao et al., "GPU-enabled Function-as-a-Service for Machine Learning
Inference" (IPDPS 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.scheduling import Decision, FleetView, Send
from glowplug.policy.scheduling.rooms import computing, takes


class LoadBalancing(msgspec.Struct):
    """With `overlap` a device that computes and has nothing else to do takes one request ahead, so that its
    model loads meanwhile, when no device is free: the one that has computed the longest, since nothing else
    is known of them here."""

    overlap: bool = False

    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        while view.free or (self.overlap and view.half_free):
            decision = self._next(view)
            if decision is None:
                return
            yield decision

    def _next(self, view: FleetView) -> Send | None:
        """Of the first that any device has room for: who can go nowhere now holds up nobody."""
        refused: set[FunctionId] = set()
        for request in view.waiting():
            if request.function not in refused:
                for device in chain(view.free, computing(view) if self.overlap else ()):
                    if takes(view, request.function, device):
                        return Send((request.id,), device)
                refused.add(request.function)
        return None

    def forget(self, function: FunctionId) -> None:
        return


class LoadBalancingOverlap(LoadBalancing):
    overlap: bool = True
