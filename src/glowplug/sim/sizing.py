"""How many devices are enough: the fewest with which a load is answered fast enough, by bisection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from glowplug.sim.models import ModelProfile
from glowplug.sim.outcomes import Outcome
from glowplug.sim.workloads.trace import Trace

_ROUNDING_S = 1e-6
"""Latencies are differences of virtual times, which are floats."""


class Sizing(msgspec.Struct, frozen=True):
    """`devices` is None when none of the numbers that were tried is enough, the last of which is `most`.
    `tried` has what each came to, in the order in which they were tried."""

    devices: int | None
    most: int
    tried: dict[int, Outcome]


def least_devices(
    run: Callable[[int], Outcome],
    *,
    p99_s: float,
    first: int,
    most: int,
    excused: Collection[str] = (),
) -> Sizing:
    """A number of devices with which everything is answered, but for what is refused by a code that is
    `excused`, and p99 is at most `p99_s`, as `run` finds out; and with one device less that is not so.

    It begins with `first`, or with `most` if that is less, and doubles until a number is enough or `most` is
    not; then it halves what lies between that number and the one before. So it runs at most twice as often
    as `most` has binary digits. That more devices do no worse is assumed: where it fails, for caches of
    another size evict others, still fewer may be enough, but the number that is found is.
    """
    tried: dict[int, Outcome] = {}

    def enough(devices: int) -> bool:
        outcome = tried[devices] = run(devices)
        lost = sum(outcome.refused.get(code, 0) for code in excused)
        return outcome.answered + lost == outcome.requests and outcome.p99_s <= p99_s + _ROUNDING_S

    low, high = 0, max(1, min(first, most))
    while not enough(high):
        if high >= most:
            return Sizing(None, most, tried)
        low, high = high, min(most, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Sizing(high, most, tried)


def devices_of_use(trace: Trace, models: Sequence[ModelProfile]) -> int:
    """One for each call that a function has at once when it has most, all functions together: then each call
    can find a device that its function has to itself, or load there at once. Function k is a model of row k.

    Calls are taken to last a load and a run each. From there on p99 stays what it is, but for about 1 % by
    which device has which model.
    """
    times_s = trace.times_s[np.argsort(trace.function, kind="stable")]
    ends = np.cumsum(trace.counts()).tolist()
    found = 0
    for number, (first, end) in enumerate(pairwise([0, *ends])):
        if first < end:
            model, calls_s = models[number % len(models)], times_s[first:end]
            ended = np.searchsorted(calls_s, calls_s - (model.load_s + model.run_s), side="right")
            found += int((np.arange(1, end - first + 1) - ended).max())
    return found


def runs_alone_s(trace: Trace, models: Sequence[ModelProfile], share: float) -> float:
    """The quantile of what the calls would take if each ran at once and nothing had to be loaded: no number
    of devices makes it less."""
    counts = trace.counts()
    took_s = np.array([_least_run_s(models[k % len(models)]) for k in range(trace.functions)])
    order = np.argsort(took_s)
    place = min(trace.requests - 1, int(share * trace.requests))
    return float(took_s[order][np.searchsorted(np.cumsum(counts[order]), place, side="right")])


def _least_run_s(model: ModelProfile) -> float:
    return min(model.run_s, *model.batch_s.values()) if model.batch_s else model.run_s
