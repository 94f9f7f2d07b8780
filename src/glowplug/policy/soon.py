"""How much a model is needed soon: one number, by which what is held and what could be loaded are compared.

What is needed within the horizon spares a request its wait. What is needed later can be loaded again before
its call: to hold it until then spares that climb only, and takes memory for as long.
"""

from __future__ import annotations

from collections.abc import Callable

WIDER = 4.0
"""How much longer each next time is for which a chance is weighed."""
LATER = (WIDER, WIDER**2)
_CLIMB = 0.1
"""What a second of climbing costs, in seconds of waiting (decision 057)."""


def needed_soon(chance: Callable[[float], float], horizon_s: float) -> float:
    """`chance` that it is needed within the horizon or, where that says more, within a few of them: then
    counted by what the climb costs, and for each horizon in which it is held."""
    needed = chance(horizon_s)
    for times in LATER:
        if needed >= _CLIMB / times:  # no chance is above 1, so that this one would change nothing
            continue
        needed = max(needed, _CLIMB * chance(times * horizon_s) / times)
    return needed
