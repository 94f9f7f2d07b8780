"""How long requests waited for memory to be given back, read from a run's journal."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from glowplug.bench.live.twin import LiveRun
from glowplug.core.commands import Climb, Descend, Dispatch, Reject
from glowplug.core.events import LeaseReport, RequestArrived, RequestCancelled, StepReached
from glowplug.core.ids import FunctionId, InstanceId, RequestId
from glowplug.core.priority import Priority


class Admission(msgspec.Struct, frozen=True):
    """A request for which something was evicted: `wait_s` until its climb could begin. `lent` when a worker
    that had been loaded ahead and not used was among what went, `climbing` when such a one still climbed."""

    function: FunctionId
    wait_s: float
    lent: bool
    climbing: bool = False


@dataclass
class _Waiting:
    """A function's requests with when they came, in this order, and what went since."""

    came_s: dict[RequestId, float] = field(default_factory=dict)
    evicted: bool = False
    lent: bool = False
    climbing: bool = False


def admissions(run: LiveRun) -> list[Admission]:
    """Of every request that came while nothing of its function was there and memory was short. What goes is
    put down to all that wait. Those whose environment climbed first are left out."""
    found: list[Admission] = []
    waiting: dict[FunctionId, _Waiting] = {}
    asked: dict[RequestId, FunctionId] = {}
    ahead: dict[InstanceId, bool] = {}  # whether it has climbed
    for at_s, event, commands in run.steps:
        if isinstance(event, LeaseReport) and event.done:
            ahead.pop(event.instance, None)
        elif isinstance(event, StepReached) and event.target.kind == "instance":
            if (number := InstanceId(int(event.target.key))) in ahead:
                ahead[number] = True
        elif isinstance(event, RequestArrived):
            asked[event.request] = event.function
            waiting.setdefault(event.function, _Waiting()).came_s[event.request] = at_s
        elif isinstance(event, RequestCancelled):
            _leave(waiting, asked, event.request)
        for command in commands:
            if isinstance(command, Descend) and command.why == "evicted":
                climbed = ahead.get(_number(command)) if command.target.kind == "instance" else None
                for each in waiting.values():
                    each.evicted = True
                    each.lent |= climbed is not None
                    each.climbing |= climbed is False
            elif isinstance(command, Dispatch):
                ahead.pop(command.instance, None)
                for request in command.requests:
                    waiting.pop(asked[request], None)
            elif isinstance(command, Reject):
                _leave(waiting, asked, command.request)
            elif isinstance(command, Climb) and command.target.kind != "version":
                mine = waiting.pop(command.spec.function, None)
                if command.target.kind == "instance" and mine is not None and mine.evicted:
                    wait_s = at_s - next(iter(mine.came_s.values()))
                    found.append(Admission(command.spec.function, wait_s, mine.lent, mine.climbing))
                if command.target.kind == "instance" and command.priority == Priority.BACKGROUND:
                    ahead[_number(command)] = False
    return found


def _leave(
    waiting: dict[FunctionId, _Waiting], asked: dict[RequestId, FunctionId], request: RequestId
) -> None:
    """It has its answer, or wants none. Where it was the last of its function nobody waits there."""
    function = asked.get(request)  # none under a lease
    if function is not None and (mine := waiting.get(function)) is not None:
        mine.came_s.pop(request, None)
        if not mine.came_s:
            del waiting[function]


def _number(command: Climb | Descend) -> InstanceId:
    return InstanceId(int(command.target.key))
