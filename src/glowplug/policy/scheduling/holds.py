"""Devices that are left free for functions that could else never begin.

A model that lies nowhere needs another to be idle, and to go. Where all devices are full of models that are
at work all the time none ever is, however long somebody waits.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import FleetView
from glowplug.policy.scheduling.order import Order

_PATIENCE = 4
"""So many of its loads a function waits first: it costs others as much again to make room."""


class Holds(msgspec.Struct):
    """`by_device` has for whom each is left free."""

    by_device: dict[DeviceId, FunctionId] = {}

    def look(self, view: FleetView) -> None:
        """Those are over whose model is on its way, or whom nobody waits for any more."""
        self.by_device = {
            number: function
            for number, function in self.by_device.items()
            if number in view.devices
            and function in view.waiting_by_function
            and function not in view.places
            and view.could_hold(function, number)
        }

    def left(
        self, view: FleetView, order: Order, function: FunctionId, hosts: list[DeviceId]
    ) -> list[DeviceId]:
        """Of `hosts` those where the function may run: all but what is left free for who comes before it."""
        held = self.by_device
        if not held:
            return hosts
        turn = order.turn(view, function)
        return [n for n in hosts if n not in held or turn < order.turn(view, held[n])]

    def stays(
        self, view: FleetView, order: Order, victim: FunctionId, function: FunctionId, number: DeviceId
    ) -> bool:
        """Whether the victim's model is waited for: it would be loaded once more. Where the device is left
        free for `function` it goes all the same, but for the only copy of who comes before it."""
        if victim not in view.waiting_by_function:
            return False
        if self.by_device.get(number) == function:
            return len(view.where(victim)) == 1 and order.turn(view, victim) < order.turn(view, function)
        return True

    def ask(self, view: FleetView, function: FunctionId, places: Iterable[DeviceId], now_s: float) -> None:
        """`function` lies nowhere, and could be loaded to none of `places`."""
        if function in self.by_device.values():
            return
        load_s = view.load_s(function, next(iter(view.devices)))
        if now_s - view.first(function).arrived_s < _PATIENCE * load_s:
            return
        free = [n for n in places if n not in self.by_device and view.could_hold(function, n)]
        if free:
            self.by_device[min(free, key=lambda number: view.devices[number].running_left_s)] = function
