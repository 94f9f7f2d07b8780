"""Loads ahead of need: free memory of devices is filled with copies of what is asked for most.

Nothing is evicted for them, and they begin only where nothing else is loading, so that all they can cost is
that a load which is needed meanwhile comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import FleetView, Load


def fill(
    view: FleetView, functions: Iterable[FunctionId], devices: Iterable[DeviceId], least_per_s: float
) -> Iterator[Load]:
    """At most one load for each device: what lies nowhere first, then whose copies have the most to do each,
    among `functions` that are asked for `least_per_s` or more."""
    sizes = {function: view.model_bytes(function) for function in functions}
    least_bytes = min(sizes.values(), default=0)
    roomy = [number for number in devices if view.devices[number].free_bytes >= least_bytes]
    if not roomy:
        return
    ranked = sorted(
        (_value(view, function, rate_per_s), function, model_bytes)
        for function, model_bytes in sizes.items()
        if (rate_per_s := view.rate_per_s(function)) >= least_per_s
    )
    for number in roomy:
        device = view.devices[number]
        residents, free_bytes = device.residents, device.free_bytes
        for place, (_, function, model_bytes) in enumerate(ranked):
            if model_bytes <= free_bytes and function not in residents and view.has_room(function, number):
                yield Load(function, number)
                value = _value(view, function, view.rate_per_s(function))
                ranked[place] = (value, function, model_bytes)
                ranked.sort()
                break


def _value(view: FleetView, function: FunctionId, rate_per_s: float) -> tuple[bool, float]:
    """Sorts the best first."""
    device, copies = next(iter(view.devices)), len(view.where(function))
    if not copies:
        return False, -rate_per_s * view.load_s(function, device)
    return True, -rate_per_s * view.run_s(function, device) / copies
