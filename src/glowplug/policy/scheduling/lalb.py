"""lalb: a free device serves whoever waits for a model that it has.

Source: locality-aware load balancing of Zhao et al., "GPU-enabled Function-as-a-Service for Machine Learning
Inference" (IPDPS 2023), as reconstructed from its description.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import inf

import msgspec

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import Decision, FleetView, Send, WaitingView
from glowplug.policy.scheduling.rooms import finish_s


class Lalb(msgspec.Struct):
    """A request that was passed over `limit` times is placed next; with 0 that is always the head.

    Who is passed over is so for every free device that looks, so all scans together are of constant cost for
    each request.
    """

    limit: int = 0

    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        for device in list(view.free):
            if not view.waiting_by_function:
                return
            yield from self._serve(view, device)

    def _serve(self, view: FleetView, device: DeviceId) -> Iterator[Decision]:
        here = view.devices[device].residents
        passed = 0
        while device in view.free:
            for request in islice(view.waiting(), passed, None):
                if request.function in here:
                    yield Send((request.id,), device)
                    return
                if request.skips >= self.limit:
                    decision = self.place(view, request, device)
                    if decision is not None:
                        yield decision
                        break
                request.skips += 1
                passed += 1
            else:
                break
        while device in view.free:
            decision = self._place_first(view, device)
            if decision is None:
                return
            yield decision

    def _place_first(self, view: FleetView, device: DeviceId) -> Decision | None:
        """The head, or the first behind it that can go anywhere now."""
        refused: set[FunctionId] = set()
        for request in view.waiting():
            if request.function not in refused:
                decision = self.place(view, request, device)
                if decision is not None:
                    return decision
                refused.add(request.function)
        return None

    def place(self, view: FleetView, request: WaitingView, device: DeviceId) -> Decision | None:
        """Where the model is: at once where nothing keeps it waiting, behind others if they are done before
        it could begin on `device`; else there. None where it can go nowhere now."""
        best, best_s = None, inf
        for other in view.where(request.function):
            if self.runs_at_once(view, request.function, other):
                return Send((request.id,), other)
            left_s = finish_s(view.devices[other])
            if left_s < best_s:
                best, best_s = other, left_s
        begins_s = max(view.devices[device].running_left_s, view.load_s(request.function, device))
        if best is not None and best_s < begins_s:
            return Send((request.id,), best)
        return Send((request.id,), device) if view.may_load(request.function, device) else None

    def runs_at_once(self, view: FleetView, function: FunctionId, device: DeviceId) -> bool:
        """On a device that has the model, or where it comes."""
        return device in view.free

    def forget(self, function: FunctionId) -> None:
        return
