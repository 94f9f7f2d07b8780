"""lb: the head of the queue goes to any free device.

Source: the load balancing baseline of Zhao et al., "GPU-enabled Function-as-a-Service for Machine Learning
Inference" (IPDPS 2023).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.scheduling import Decision, FleetView, Send


class LoadBalancing(msgspec.Struct):
    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        while view.free:
            head = next(view.waiting(), None)
            if head is None:
                return
            yield Send((head.id,), next(iter(view.free)))

    def forget(self, function: FunctionId) -> None:
        return
