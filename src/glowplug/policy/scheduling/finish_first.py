"""finish-first: every request goes where it will be finished first, and is bound as late as possible.

A device that computes may load beside it, so a model's finish on a device is the later of (the device is free
to compute) and (the model has come), and its run. Extends Zhao et al. (IPDPS 2023), whose LALB binds when a
device is free and weighs one device against one load.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import msgspec

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import Decision, FleetView, Load, Send


class FinishFirst(msgspec.Struct):
    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        ahead_s: dict[DeviceId, float] = {}
        looked: set[FunctionId] = set()
        for request in list(view.waiting()):
            function = request.function
            if function in looked:
                continue
            best, best_s, load, load_s = None, inf, None, inf
            where = view.where(function)
            for number, device in view.devices.items():
                compute_s = device.running_left_s + device.line_s + ahead_s.get(number, 0.0)
                if number in where:
                    finish_s = max(compute_s, device.load_left_s(function)) + view.run_s(function, number)
                    if finish_s < best_s:
                        best, best_s = number, finish_s
                elif device.loads_left_s == 0 and view.may_load(function, number):
                    finish_s = max(compute_s, view.load_s(function, number)) + view.run_s(function, number)
                    if finish_s < load_s:
                        load, load_s = number, finish_s
            if load is not None and load_s < best_s:
                yield Load(function, load)
                ahead_s[load] = ahead_s.get(load, 0.0) + view.run_s(function, load)
            elif best is not None:
                device = view.devices[best]
                if device.may_compute and function in device.residents and not ahead_s.get(best):
                    yield Send((request.id,), best)
                    continue
                ahead_s[best] = ahead_s.get(best, 0.0) + view.run_s(function, best)

    def forget(self, function: FunctionId) -> None:
        return
