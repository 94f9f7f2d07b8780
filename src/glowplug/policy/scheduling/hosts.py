"""Which devices could run a function's requests or load its model, and who comes first there."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import DeviceView, FleetView


def open_to_loads(
    view: FleetView, candidates: Iterable[DeviceId]
) -> tuple[list[DeviceId], Collection[DeviceId]]:
    """The devices that could begin a load, and of each of their nodes one."""
    places = [number for number in candidates if not view.devices[number].loading]
    return places, {view.devices[number].node: number for number in places}.values()


def least_load_s(view: FleetView, function: FunctionId, nodes: Collection[DeviceId]) -> float:
    if len(nodes) == 1:
        return view.load_s(function, next(iter(nodes)))
    return min([view.load_s(function, number) for number in nodes])


def in_turn(view: FleetView, functions: Iterable[FunctionId]) -> list[FunctionId]:
    heads = [(view.first(function), function) for function in functions]
    return [turn[2] for turn in sorted((-head.rank, head.arrived_s, function) for head, function in heads)]


def open_hosts(view: FleetView, function: FunctionId) -> list[DeviceId]:
    is_open, devices = view.open, view.devices
    return [
        n
        for n in view.where(function)
        if n in is_open and function in devices[n].residents and not devices[n].is_at_work(function)
    ]


def least_needed(view: FleetView, function: FunctionId, hosts: list[DeviceId]) -> DeviceId:
    """Of the devices that could run it now the one that others have the least need of."""
    if len(hosts) == 1:
        return hosts[0]
    return min(hosts, key=lambda number: _need(view, view.devices[number], function))


def _need(view: FleetView, device: DeviceView, but: FunctionId) -> float:
    """Requests a second that have come for the other models there, each divided by its copies."""
    return sum(view.rate_per_s(other) / len(view.where(other)) for other in device.residents if other != but)
