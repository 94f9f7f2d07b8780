"""When what waits will begin: laid out over the devices that have its model, in the order it came.

Nobody is bound by it. Each request takes the device where it would begin first, behind those that were laid
out before, so that the next one finds how long each device is taken by whoever comes before him.
"""

from __future__ import annotations

from math import inf

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import FleetView
from glowplug.policy.scheduling.batches import each_s


class Layout:
    """Seconds from now. A device that waits for a load runs meanwhile what comes later: loads take no time of
    their own."""

    __slots__ = ("_free_s", "_view")

    def __init__(self, view: FleetView) -> None:
        self._view = view
        self._free_s: dict[DeviceId, float] = {}

    def free_s(self, number: DeviceId) -> float:
        """When the device has done what it runs and what was laid out there."""
        found = self._free_s.get(number)
        if found is None:
            device = self._view.devices[number]
            found = self._free_s[number] = device.running_left_s + device.line_s
        return found

    def begins_s(self, function: FunctionId) -> float:
        """When the next request of the function begins, where its model lies or comes; else infinite."""
        return self._first(function)[1]

    def take(self, function: FunctionId) -> None:
        """Lays out its next request."""
        number, _ = self._first(function)
        if number is not None:
            count = self._view.waiting_by_function.get(function, 1)
            self._free_s[number] = self.free_s(number) + each_s(self._view, function, number, count)

    def _first(self, function: FunctionId) -> tuple[DeviceId | None, float]:
        best, best_s = None, inf
        for number in self._view.where(function):
            start_s = max(self.free_s(number), self._view.devices[number].load_left_s(function))
            if start_s < best_s:
                best, best_s = number, start_s
                if start_s <= 0.0:
                    break  # nobody begins sooner
        return best, best_s
