"""How many devices are enough: the fewest with which a load is answered fast enough, by bisection."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import ceil

import msgspec

from glowplug.sim.outcomes import Outcome

_AMPLE = 4


class Sizing(msgspec.Struct, frozen=True):
    """`devices` is None when not even the most that make sense are enough. `tried` has what each number came
    to, in the order in which they were tried."""

    devices: int | None
    tried: dict[int, Outcome]


def least_devices(
    run: Callable[[int], Outcome],
    *,
    p99_s: float,
    offered_devices: float,
    functions: int,
    excused: Collection[str] = (),
) -> Sizing:
    """The fewest devices with which everything is answered, but for what is refused by a code that is
    `excused`, and p99 is at most `p99_s`, as `run` finds out.

    It starts at `offered_devices`, the devices that the runs alone would keep busy, and doubles; then it
    halves. Beyond one for each of the functions and some times those that runs keep busy there is nothing to
    gain. That more devices do no worse is assumed, and may fail by one or two: caches of another size
    evict others.
    """
    tried: dict[int, Outcome] = {}

    def enough(devices: int) -> bool:
        outcome = tried[devices] = run(devices)
        lost = sum(outcome.refused.get(code, 0) for code in excused)
        return outcome.answered + lost == outcome.requests and outcome.p99_s <= p99_s

    most = functions + _AMPLE * ceil(offered_devices)
    low, high = 0, max(1, ceil(offered_devices))
    while not enough(high):
        if high == most:
            return Sizing(None, tried)
        low, high = high, min(most, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Sizing(high, tried)
