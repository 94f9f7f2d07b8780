"""Where a request could go, and what that is expected to take: the numbers that policies read."""

from __future__ import annotations

from heapq import nsmallest
from math import inf

import msgspec

from glowplug.control.context import Context
from glowplug.control.fleet.records import Device
from glowplug.control.fleet.view import FleetView
from glowplug.control.records import Instance
from glowplug.control.views import FunctionView
from glowplug.control.worth import worth_on_device
from glowplug.core.explanation import Candidate, Place, PlaceState
from glowplug.core.ids import DeviceId, FunctionId

_SHOWN = 12
"""Of a thousand devices the best."""


def on_devices(view: FleetView, function: FunctionId, count: int = 1, chosen: str = "") -> tuple[Place, ...]:
    """The devices for a batch of `count`, the best first; `chosen` is among them."""
    places = [_on_device(view, function, number, count) for number in view.devices]
    best = nsmallest(_SHOWN, places, key=finish_s)
    return (*best, *(place for place in places if place.place == chosen and place not in best))


def _on_device(view: FleetView, function: FunctionId, number: DeviceId, count: int) -> Place:
    device = view.devices[number]
    free_s, run_s = device.running_left_s + device.line_s, view.run_s(function, number, count)
    state: PlaceState
    evicts: tuple[str, ...] = ()
    if number in view.where(function):
        ready_s = device.load_left_s(function)
        state = "resident" if function in device.residents else "loading"
    elif view.may_load(function, number):
        ready_s, state = device.loads_left_s + view.load_s(function, number), "could load"
        evicts = tuple(view.victims(function, number))
    else:
        state = "paused" if view.is_paused(number) else "has no room"
        return Place(number, state, _shown(free_s), None, run_s)
    finish = max(free_s, ready_s) + run_s
    return Place(number, state, _shown(free_s), _shown(ready_s), run_s, _shown(finish), evicts)


def on_workers(view: FunctionView, ahead: int) -> tuple[Place, ...]:
    """The workers of a function on the node's own cores, for a request with `ahead` others before it."""
    run_s = view.run_s
    found: list[Place] = []

    def add(place: str, state: PlaceState, free_s: float, ready_s: float) -> None:
        finish = max(free_s, ready_s) + run_s
        found.append(Place(place, state, _shown(free_s), _shown(ready_s), run_s, _shown(finish)))

    if view.idle is not None:
        add(f"worker {view.idle}", "idle", 0.0, 0.0)
    wait_s = ahead * run_s / view.serving if view.serving else 0.0
    if view.spare is not None:
        add(f"worker {view.spare[0]}", "in use", view.spare[1] + wait_s, 0.0)
    elif view.serving:
        add("the first worker that is free", "in use", view.free_in_s + wait_s, 0.0)
    if view.climbing is not None:
        add(f"worker {view.climbing}", "climbing", 0.0, view.climbing_left_s)
    if view.can_grow:
        add("a new worker", "new", 0.0, view.grow_s)
    return tuple(sorted(found, key=finish_s))


def candidates(c: Context, device: Device) -> dict[FunctionId, Candidate]:
    """Every model that lies idle there, or has just been sent away for another."""
    found: dict[FunctionId, Candidate] = {}
    for instance in c.store.instances.values():
        idle = instance.device == device.id and not instance.bound and instance.function not in device.pinned
        if idle and (instance.function in device.residents or instance.why == "evicted"):
            found[instance.function] = _candidate(c, instance)
    return found


def _candidate(c: Context, instance: Instance) -> Candidate:
    """As it was when it lay there: one that leaves is counted among its copies no more."""
    worth = worth_on_device(c, instance, left=int(instance.draining))
    if instance.draining:
        worth = msgspec.structs.replace(worth, pinned=False)
    return Candidate(
        function=instance.function,
        score=c.policies.device_eviction.score(worth),
        rate_per_s=c.policies.arrivals.rate_per_s(instance.function, c.now_s),
        saved_s=worth.saved_s,
        held_bytes=worth.held_bytes,
        copies=worth.copies,
    )


def finish_s(place: Place) -> float:
    return inf if place.finish_s is None else place.finish_s


def _shown(seconds: float) -> float | None:
    return None if seconds == inf else seconds
