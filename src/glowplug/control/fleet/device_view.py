"""A live, read-only view of one device for scheduling policies. It meets policy.scheduling."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING

from glowplug.control.capacity import still_s
from glowplug.control.context import Context
from glowplug.control.fleet.records import Device
from glowplug.core.ids import DeviceId, FunctionId, InstanceId, NodeId

if TYPE_CHECKING:
    from glowplug.control.fleet.view import FleetView


class DeviceView:
    __slots__ = ("_c", "_device", "_fleet", "id", "loading", "node", "residents")

    def __init__(self, c: Context, device: Device, fleet: FleetView) -> None:
        self._c = c
        self._device = device
        self._fleet = fleet
        self.id: DeviceId = device.id
        self.node: NodeId = device.node
        self.residents: Mapping[FunctionId, InstanceId] = device.residents
        self.loading: Mapping[FunctionId, InstanceId | None] = device.loading

    @property
    def may_compute(self) -> bool:
        device = self._device
        return not device.line and len(device.running) < device.at_once

    def is_at_work(self, function: FunctionId) -> bool:
        return self.residents.get(function) in self._device.running

    @property
    def free_bytes(self) -> int:
        return self._c.store.fleet.ledger.free_bytes(self.id)

    @property
    def running_left_s(self) -> float:
        device, least_s = self._device, inf
        if len(device.running) < device.at_once:
            return 0.0
        now_s = self._c.now_s
        for running in device.running.values():
            left_s = still_s(running.since_s + running.expected_s - now_s, running.expected_s)
            if left_s < least_s:
                least_s = left_s
        return least_s

    @property
    def line_s(self) -> float:
        return self._device.line_s

    @property
    def loads_left_s(self) -> float:
        return self._loads_until(None)

    def load_left_s(self, function: FunctionId) -> float:
        device = self._device
        if function in device.residents:
            return 0.0
        return self._loads_until(function) if function in device.loading else inf

    def _loads_until(self, last: FunctionId | None) -> float:
        """They come one after another, in the order they were asked for."""
        c, left_s = self._c, -inf
        for function, number in self._device.loading.items():
            expected_s = self._fleet.load_s(function, self.id)
            since_s = c.now_s
            if number is not None:
                since_s = c.store.holdings[c.store.instances[number].key].since_s
            left_s = still_s(max(left_s, since_s - c.now_s) + expected_s, expected_s)
            if function == last:
                break
        return max(left_s, 0.0)
