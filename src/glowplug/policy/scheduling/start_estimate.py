"""start-estimate: every request goes, as soon as it comes, where it is expected to start first.

Source: the start-up time estimates of Fu et al., "ServerlessLLM: Low-Latency Serverless Inference for Large
Language Models" (OSDI 2024): what waits on the server, and then the model's bytes by the bandwidth of the
tier in which the server has them. Left out: live migration of what runs, which is for inferences of many
seconds. Devices overlap loads with compute, as for all policies that bind ahead; the estimate adds them, as
published.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import msgspec

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import Decision, DeviceView, FleetView, Send
from glowplug.policy.scheduling.rooms import turn


class StartEstimate(msgspec.Struct):
    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        refused: set[FunctionId] = set()
        while True:
            heads = (view.first(function) for function in view.waiting_by_function if function not in refused)
            request = min(heads, key=turn, default=None)
            if request is None:
                return
            device = _first_to_start(view, request.function)
            if device is None:
                refused.add(request.function)
            else:
                yield Send((request.id,), device)

    def forget(self, function: FunctionId) -> None:
        return


def _first_to_start(view: FleetView, function: FunctionId) -> DeviceId | None:
    best, best_s = None, inf
    for number, device in view.devices.items():
        start_s = _start_s(view, function, device)
        if start_s < best_s:
            best, best_s = number, start_s
    return best


def _start_s(view: FleetView, function: FunctionId, device: DeviceView) -> float:
    queue_s = device.running_left_s + device.line_s
    if function in device.residents or function in device.loading:
        return queue_s + device.load_left_s(function)
    if view.may_load(function, device.id):
        return queue_s + device.loads_left_s + view.load_s(function, device.id)
    return inf
