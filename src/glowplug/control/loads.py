"""What each function holds and has to do, counted when somebody asks: for metrics and `glowplug top`."""

from __future__ import annotations

from collections.abc import Iterator

from glowplug.control import goals
from glowplug.control.context import Context
from glowplug.control.records import Function
from glowplug.control.sharing import Parts
from glowplug.control.state import ControlState
from glowplug.control.status import function_state
from glowplug.core.ids import InstanceId
from glowplug.core.status import FunctionLoad


def function_loads(state: ControlState) -> Iterator[FunctionLoad]:
    """All functions, in the order of their first deploy; all their versions count."""
    parts = Parts(state.context)
    for function in state.functions.values():
        yield _load(state.context, function, parts)


def _load(c: Context, function: Function, parts: Parts) -> FunctionLoad:
    holdings, entries, instances = c.store.holdings, c.store.ledger.entries, c.store.instances
    held = {"version": 0, "instance": 0, "part": 0, "weights": 0, "build": 0}
    climbing = parked = busy = leases = in_flight = 0
    numbers = {function.active, function.next, *function.previous, *function.retiring}
    versions = [c.store.versions[number] for number in numbers if number is not None]
    held["weights"] = sum(part.held_bytes for part in parts.of(versions))
    for version in versions:
        for key in version.keys:
            holding = holdings[key]
            held[holding.target.kind] += entries[key].held_bytes
            if holding.target.kind != "instance":
                continue
            instance = instances[InstanceId(int(holding.target.key))]
            running = instance.in_flight
            in_flight += running
            leases += bool(instance.leases)
            if holding.phase == "climbing":
                climbing += 1
            elif running:
                busy += 1
            else:
                parked += 1
    return FunctionLoad(
        function=function.id, state=function_state(function), step=goals.standing(c, function).label,
        queued=len(function.queue) + function.lined, in_flight=in_flight, leases=leases,
        climbing=climbing, parked=parked, busy=busy,
        staged_bytes=held["version"], worker_bytes=held["instance"] + held["part"],
        weight_bytes=held["weights"],
    )  # fmt: skip
