"""What the published policies ask of a device before they send anything there."""

from __future__ import annotations

from collections.abc import Iterator

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import DeviceView, FleetView, WaitingView


def takes(view: FleetView, function: FunctionId, device: DeviceId) -> bool:
    """Whether a request of the function could run there: its model is there, comes, or may come."""
    here = view.devices[device]
    return function in here.residents or function in here.loading or view.may_load(function, device)


def computing(view: FleetView) -> Iterator[DeviceId]:
    """The devices that compute, and could load beside it."""
    return (device for device in view.half_free if not view.devices[device].loading)


def loading(view: FleetView) -> Iterator[DeviceId]:
    """The devices that load, and could compute beside it."""
    return (device for device in view.half_free if view.devices[device].loading)


def runs_at_once(view: FleetView, function: FunctionId, device: DeviceId) -> bool:
    """Whether a device that has the function's model computes nothing, though it may be loading another."""
    if device in view.free:
        return True
    here = view.devices[device]
    return device in view.half_free and bool(here.loading) and function in here.residents


def turn(request: WaitingView) -> tuple[int, float, int]:
    """Orders requests as they wait."""
    return -request.rank, request.arrived_s, request.id


def finish_s(device: DeviceView) -> float:
    """Until all is done that runs there or is bound to it."""
    return max(device.running_left_s, device.loads_left_s) + device.line_s
