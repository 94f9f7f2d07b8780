"""What a caller may ask of a load."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real

from glowplug.loader.arbiter import Priority


def priority_like(value: object) -> Priority:
    """Raises ValueError for what is none."""
    try:
        return Priority(value)  # type: ignore[arg-type]
    except ValueError:
        names = ", ".join(f"loader.{one.name}" for one in Priority)
        raise ValueError(f"priority={value!r} is none; there are {names}") from None


def _finite(number: Real) -> float:
    """NaN for what no float has room for."""
    try:
        return float(number) if math.isfinite(number) else math.nan
    except OverflowError:
        return math.nan


def require_terms(weight: object, in_flight_bytes: object, only: object) -> None:
    """Raises ValueError for what none of them can be."""
    if not isinstance(weight, Real) or not _finite(weight) > 0:
        raise ValueError(f"weight={weight!r}: a load's weight must be above zero, and a number")
    if not isinstance(in_flight_bytes, Integral) or int(in_flight_bytes) < 0:
        raise ValueError(f"in_flight_bytes={in_flight_bytes!r} must be a whole number, and not below zero")
    if only is None:
        return
    # A str would be a sequence of its letters.
    if isinstance(only, Collection) and not isinstance(only, str) and all(isinstance(n, str) for n in only):
        return
    raise ValueError(f"only={only!r} is no list of names: write only=('my.package',), or only=() for none")
