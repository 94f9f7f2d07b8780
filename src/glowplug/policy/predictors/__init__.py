"""When will it be asked for next? Models of the time between two arrivals, and which of them to believe.

Each model says, for a function that nobody has called for `age_s` seconds, how sure it is of that: its
*hazard* H(age) = -ln P(gap > age), which is 0 at 0 and never falls. Everything else follows from it:

    P(arrival within h | nothing for age) = 1 - exp(H(age) - H(age + h))

Arrivals less than RESOLUTION_S after the last one that counted are the same arrival: at most four a second
are learned from, and what the model says of ages above that is not changed by it.
"""

from __future__ import annotations

from math import expm1
from typing import Protocol

RESOLUTION_S = 0.25


class GapModel(Protocol):
    """One function's gaps. A msgspec Struct: its fields are its state."""

    def observe(self, gap_s: float) -> None:
        """The next arrival came `gap_s` after the one before."""

    def hazard(self, age_s: float, prior: float) -> float:
        """H(age_s). `prior` is the pooled model's, for what this function alone does not show."""


def chance(before: float, after: float) -> float:
    """P(arrival) between two ages, given none before the first, by the hazards at both."""
    return -expm1(min(before - after, 0.0))
