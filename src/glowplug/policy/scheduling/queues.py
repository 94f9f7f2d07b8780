"""When what waits will begin, by two runs of each queue: where it is in turns, or too much to be laid out."""

from __future__ import annotations

from itertools import chain

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import FleetView
from glowplug.policy.scheduling.batches import each_s
from glowplug.policy.scheduling.order import Shares
from glowplug.policy.scheduling.turns import filled_s, turns_before

_SURELY = 1 - 1e-9
"""Of a bound that is a sum in another order than what it bounds."""


class Queues:
    """Seconds from now, each worked out once until the next `forget`; `shares` are the functions'."""

    __slots__ = ("_free_s", "_shares", "_view")

    def __init__(self, view: FleetView, shares: Shares) -> None:
        self._view = view
        self._shares = shares
        self._free_s: dict[DeviceId, float] = {}

    def forget(self) -> None:
        """A load was decided on, and other copies share what waits."""
        self._free_s.clear()

    def free_s(self, number: DeviceId) -> float:
        """Until the device could begin something new: what runs, its line, and of what waits as much as has
        its turn before."""
        seconds = self._free_s.get(number)
        if seconds is not None:
            return seconds
        view = self._view
        device, waiting, copies = view.devices[number], view.waiting_by_function, view.places
        is_ahead = self._shares.is_ahead
        seconds = device.running_left_s + device.line_s
        for function in filter(waiting.__contains__, chain(device.residents, device.loading)):
            count = waiting[function]
            turns = turns_before(count / len(copies[function]), ahead=is_ahead(function))
            if turns:
                seconds += turns * each_s(view, function, number, count)
        self._free_s[number] = seconds
        return seconds

    def begins_s(self, function: FunctionId, enough_s: float) -> float:
        """When the last of those that wait for the function would begin, with the copies that there are: they
        fill up the devices that begin first. Where one of them alone would begin them all before `enough_s`,
        when it would: the others could only be sooner."""
        view = self._view
        hosts, count = view.places[function], view.waiting_by_function[function]
        starts, run_s = [], 0.0
        own = turns_before(count / len(hosts), ahead=self._shares.is_ahead(function))
        for number in hosts:
            run_s = each_s(view, function, number, count)
            others_s = self.free_s(number) - own * run_s
            start_s = max(others_s, view.devices[number].load_left_s(function))
            last_s = start_s + (count - 1) * run_s
            if last_s < enough_s * _SURELY:
                return last_s
            starts.append(start_s)
        return filled_s(starts, count, run_s)
