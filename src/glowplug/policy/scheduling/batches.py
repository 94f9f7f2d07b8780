"""Requests of one function that run as one: how many to take, and what each then takes.

A function without a latency target is run one by one. With one, an answer may come as late as the target says
for the sake of a batch: whoever is in time alone stays in time. Who is late already is taken along where that
costs nobody his time, for then only what a batch spares helps those behind.
"""

from __future__ import annotations

from math import inf

from glowplug.core.ids import DeviceId, FunctionId, RequestId
from glowplug.policy.scheduling import FleetView

_EVEN = 1 + 1e-9
"""Of sizes that are as good as equal the larger is taken: what nobody has measured is believed to spare
nothing, and would else never be measured."""


def together(
    view: FleetView, function: FunctionId, device: DeviceId, most: int, now_s: float
) -> tuple[RequestId, ...]:
    """Those that run next there, `most` at most: of all sizes that make nobody late the one with the least
    seconds a request."""
    target_s = view.latency_target_s(function)
    most = min(most, view.most_at_once(function)) if target_s else 1
    if most <= 1:
        return (view.first(function).id,)
    alone_s = view.run_s(function, device)
    members: list[RequestId] = []
    best, best_s, ends_s = 1, alone_s * _EVEN, inf
    for size, request in enumerate(view.some(function, most), start=1):
        deadline_s = request.arrived_s + target_s
        if deadline_s >= now_s + alone_s:
            ends_s = min(ends_s, deadline_s)
        members.append(request.id)
        took_s = view.run_s(function, device, size)
        if now_s + took_s <= ends_s and took_s / size <= best_s:
            best, best_s = size, took_s / size * _EVEN
    return tuple(members[:best])


def each_s(view: FleetView, function: FunctionId, device: DeviceId, count: int) -> float:
    """Seconds that each of `count` waiting requests takes there, in the best batches that a request which
    has just come would be in time with."""
    best_s = view.run_s(function, device)
    if count <= 1:
        return best_s
    target_s = view.latency_target_s(function)
    if not target_s:
        return best_s
    for size in range(2, min(count, view.most_at_once(function)) + 1):
        took_s = view.run_s(function, device, size)
        if took_s <= target_s:
            best_s = min(best_s, took_s / size)
    return best_s
