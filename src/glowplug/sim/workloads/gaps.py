"""How regular the calls of a function are: gaps between arrivals and how much they vary."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.sim.workloads.trace import Floats, Trace

Regularity = Literal["predictable", "normal", "bursty", "unknown"]
NORMAL_FROM, NORMAL_TO = 1.0, 4.0
"""Coefficients of variation below are predictable, above bursty (Tyche, section 2 of the paper's notes)."""


class Classes(msgspec.Struct, frozen=True):
    """How many functions are of each class; `unknown` have fewer than three calls, which is two gaps."""

    predictable: int
    normal: int
    bursty: int
    unknown: int


def gaps(trace: Trace) -> tuple[Floats, NDArray[np.int32]]:
    """(seconds between a call and the same function's next, the function's number), functions in order."""
    order = np.argsort(trace.function, kind="stable")
    times_s, function = trace.times_s[order], trace.function[order]
    same = function[1:] == function[:-1]
    return np.diff(times_s)[same], function[1:][same]


def variation(trace: Trace) -> Floats:
    """(functions,): standard deviation over mean of each function's gaps; NaN with fewer than two gaps.

    Calls that all come at one time have gaps of nought and vary by nought.
    """
    gap_s, function = gaps(trace)
    count = np.bincount(function, minlength=trace.functions)
    total_s = np.bincount(function, gap_s, trace.functions)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_s = total_s / count
        deviation = np.bincount(function, (gap_s - mean_s[function]) ** 2, trace.functions) / count
        found = np.sqrt(deviation) / mean_s
    return np.where(count < 2, np.nan, np.where(mean_s == 0, 0.0, found))


def classify(variations: Floats) -> list[Regularity]:
    """The class of each function."""
    return [_class_of(value) for value in variations.tolist()]


def classes(trace: Trace) -> Classes:
    found = classify(variation(trace))
    return Classes(*(found.count(name) for name in ("predictable", "normal", "bursty", "unknown")))


def changes(before: Trace, after: Trace) -> dict[Regularity, Classes]:
    """Of the functions of each class before, how many are of which class after. Same numbers in both."""
    pairs = list(zip(classify(variation(before)), classify(variation(after)), strict=True))
    names: tuple[Regularity, ...] = ("predictable", "normal", "bursty", "unknown")
    return {old: Classes(*(pairs.count((old, new)) for new in names)) for old in names}


def _class_of(value: float) -> Regularity:
    if value != value:
        return "unknown"
    if value < NORMAL_FROM:
        return "predictable"
    return "normal" if value <= NORMAL_TO else "bursty"
