"""What waits for devices in fair turns: how much of it comes before a newcomer, when the last of it begins,
and how many devices one function may come to have.

Nobody is taken from a device. With all of them at work for one function whoever else comes waits for the end
of somebody's run before his load and after it, however fair the turns: so some devices stay without it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import ceil

from glowplug.core.ids import FunctionId
from glowplug.policy.scheduling import FleetView

_TURNS_BEFORE = 2
"""Runs of one function that are reckoned to come before a newcomer's: in fair turns no more do, however many
wait."""
_LONG = 3
"""A queue of more runs for each copy, of a function that was served more than others, is its own doing:
whoever else comes has his turn before it."""
_OVERLOAD = 1.0
"""Of the devices' time, what all ask for where somebody will wait without end."""
_BACKLOG = 8
"""Runs for each device: where more wait it is overload, whoever asked for them."""
_BACKLOG_OF_ONE = 2
_NEAR_OVERLOAD = 0.9
"""The same where one function asks for more than all others together: then the others are not to wait until
the rates are sure."""
_LEFT_TO_OTHERS = 0.5
"""Of the devices that the others' runs take, so many then get no further copy of a function's model."""


def turns_before(runs: float, *, ahead: bool) -> float:
    """Of so many runs that wait for a device those before a newcomer's; `ahead` if their function has been
    served more than others."""
    if runs <= _TURNS_BEFORE:
        return runs
    return 0.0 if ahead and runs > _LONG else _TURNS_BEFORE


def is_overloaded(view: FleetView, functions: Iterable[FunctionId]) -> bool:
    """Whether more waits than the devices can do soon. By the rates of the `functions` that run it is told
    sooner, but only where one of them asks for most of it: of a few seconds rates are luck, and in turns it
    would be the function that is asked for most often, however little above the others, that pays for it."""
    devices, waiting = len(view.devices), sum(view.waiting_by_function.values())
    if waiting <= _BACKLOG_OF_ONE * devices or waiting > _BACKLOG * devices:
        return waiting > _BACKLOG * devices
    asked = _asked(view, functions).values()
    return sum(asked) >= _NEAR_OVERLOAD * devices and 2 * max(asked) > sum(asked)


def most_copies(view: FleetView, function: FunctionId, functions: Iterable[FunctionId]) -> int:
    """Devices that may have its model, by how often it and the other `functions` that run are asked for."""
    devices, asked = len(view.devices), _asked(view, functions)
    own, total = asked.get(function, 0.0), sum(asked.values())
    if total < _OVERLOAD * devices:
        return devices
    return max(1, devices - ceil(_LEFT_TO_OTHERS * (total - own)))


def _asked(view: FleetView, functions: Iterable[FunctionId]) -> dict[FunctionId, float]:
    """Devices that each would keep at work."""
    return {f: view.rate_per_s(f) * view.usual_run_s(f) for f in functions}


def is_anyone_greedy(view: FleetView, functions: Iterable[FunctionId]) -> bool:
    """Whether a function or a namespace asks for more than all others together."""
    asked = _asked(view, functions)
    by_namespace: dict[str, float] = {}
    for function, devices in asked.items():
        namespace = view.namespace(function)
        by_namespace[namespace] = by_namespace.get(namespace, 0.0) + devices
    return _is_one_most(asked.values()) or _is_one_most(by_namespace.values())


def _is_one_most(asked: Collection[float]) -> bool:
    return len(asked) > 1 and 2 * max(asked) > sum(asked)


def filled_s(starts: list[float], count: int, run_s: float) -> float:
    """When the last of `count` runs begins on devices that are free from `starts` on, those first that begin
    first."""
    starts.sort()
    left_s, level_s, filled = count * run_s, starts[0], 1
    for start_s in starts[1:]:
        step_s = (start_s - level_s) * filled
        if step_s >= left_s:
            break
        left_s -= step_s
        level_s = start_s
        filled += 1
    return level_s + left_s / filled - run_s


def spared_s(count: int, hosts: int, sooner_s: float, run_s: float) -> float:
    """Seconds that those who wait are spared in sum, by one more device that begins so much before the last
    of them would."""
    moved = min(count, 1 + int(sooner_s / run_s * hosts / (hosts + 1)))
    return sooner_s if moved <= 1 else moved * sooner_s / 2
