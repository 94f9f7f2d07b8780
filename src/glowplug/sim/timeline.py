"""What each device did when: loads, runs and what lay there, read from a simulation's log."""

from __future__ import annotations

from typing import Literal

import msgspec

from glowplug.core.commands import Climb, Dispatch
from glowplug.core.events import (
    CommandFailed,
    DeviceLost,
    Event,
    InstanceExited,
    RequestDone,
    StepLost,
    StepReached,
)
from glowplug.core.ids import DeviceId, FunctionId, InstanceId, RequestId
from glowplug.sim.simulation import SimResult

Kind = Literal["load", "run", "lies"]


class Interval(msgspec.Struct, frozen=True):
    """`lies` is from the end of a load until the model is gone; several run and load inside it."""

    kind: Kind
    device: DeviceId
    function: FunctionId
    start_s: float
    end_s: float


class _Stay(msgspec.Struct):
    """A model's on a device, from the begin of its load on."""

    device: DeviceId
    function: FunctionId
    start_s: float
    loaded_s: float | None = None
    gone_s: float | None = None


def intervals(result: SimResult, until_s: float) -> list[Interval]:
    """What began before `until_s`, in the order of their starts; what has not ended by then ends there. Of a
    simulation that kept its log."""
    stays = _stays(result)
    found = []
    for stay in stays.values():
        gone_s = until_s if stay.gone_s is None else stay.gone_s
        loaded_s = gone_s if stay.loaded_s is None else stay.loaded_s
        found.append(Interval("load", stay.device, stay.function, stay.start_s, loaded_s))
        if stay.loaded_s is not None:
            found.append(Interval("lies", stay.device, stay.function, loaded_s, gone_s))
    for instance, start_s, end_s in _runs(result, until_s):
        if instance in stays:
            stay = stays[instance]
            end_s = min(end_s, until_s if stay.gone_s is None else stay.gone_s)
            found.append(Interval("run", stay.device, stay.function, start_s, end_s))
    begun = [
        msgspec.structs.replace(each, end_s=min(each.end_s, until_s))
        for each in found
        if each.start_s < until_s
    ]
    return sorted(begun, key=lambda each: (each.start_s, each.device, each.kind))


def _stays(result: SimResult) -> dict[InstanceId, _Stay]:
    stays = {
        InstanceId(int(c.target.key)): _Stay(c.device, c.spec.function, at_s)
        for at_s, c in result.commands
        if isinstance(c, Climb) and c.device is not None
    }
    for at_s, event in result.events:
        if isinstance(event, DeviceLost):
            for stay in stays.values():
                if stay.device == event.device and stay.start_s <= at_s:
                    stay.gone_s = stay.gone_s or at_s
            continue
        number = _instance(event)
        if number in stays:
            if isinstance(event, StepReached):
                stays[number].loaded_s = at_s
            else:
                stays[number].gone_s = stays[number].gone_s or at_s
    return stays


def _instance(event: Event) -> InstanceId | None:
    """Whose load has ended, or who is gone."""
    if isinstance(event, InstanceExited):
        return event.instance
    if isinstance(event, (StepReached, StepLost, CommandFailed)) and event.target.kind == "instance":
        return InstanceId(int(event.target.key))
    return None


def _runs(result: SimResult, until_s: float) -> list[tuple[InstanceId, float, float]]:
    """(instance, start, end) of each batch: from its sending to its last answer."""
    sent: dict[RequestId, tuple[InstanceId, float]] = {}
    ends: dict[tuple[InstanceId, float], float] = {}
    for at_s, command in result.commands:
        if isinstance(command, Dispatch):
            ends[command.instance, at_s] = until_s
            sent.update((request, (command.instance, at_s)) for request in command.requests)
    answered: dict[tuple[InstanceId, float], float] = {}
    for at_s, event in result.events:
        if isinstance(event, RequestDone) and event.request in sent:
            batch = sent[event.request]
            answered[batch] = max(at_s, answered.get(batch, at_s))
    return [(*batch, end_s) for batch, end_s in (ends | answered).items()]
