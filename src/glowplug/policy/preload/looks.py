"""When a function is looked at after an arrival: a load before its next one comes into sight."""

from __future__ import annotations

from math import inf

from glowplug.core.ids import FunctionId
from glowplug.policy.preload import PreloadView

_SHARES = (0.02, 0.1, 0.3, 0.6)
"""Of the distribution of the next arrival: at each of these a function is looked at, a load before it. After
the last the same shares are taken of what is left of it, and so on: a burst is followed by one long gap, of
which the whole distribution says little, and the rest says when it ends."""
_MOST = 0.999
"""What comes later than that is not looked for."""
_SURELY = 0.999
"""What is clearly too soon after the look before need not be known exactly."""

Offset = tuple[float, float]
"""Seconds after an arrival, and the share of the distribution that is past when it is the last (else 0)."""


def offsets_of(
    view: PreloadView, function: FunctionId, past: float = 0.0, past_s: float = 0.0
) -> list[Offset]:
    """Seconds after an arrival when the next may come into sight, if it has not come in `past_s`, by when it
    does with probability `past`."""
    apart_s = view.horizon_s / 2
    ahead_s = apart_s + view.load_s(function)
    quantile_s = view.quantiles(function, _SURELY * (past_s + apart_s + ahead_s))
    found: list[Offset] = []
    while past < _MOST and not found:
        left, least_s = 1 - past, past_s + apart_s
        last_s = quantile_s(past + _SHARES[-1] * left, _SURELY * (least_s + ahead_s)) - ahead_s
        if least_s < last_s < inf:
            for share in _SHARES[:-1]:
                after_s = quantile_s(past + share * left, _SURELY * (least_s + ahead_s)) - ahead_s
                if after_s > least_s:
                    found.append((after_s, 0.0))
                    least_s = after_s + apart_s
            if last_s > least_s:
                found.append((last_s, 0.0))
        past += _SHARES[-1] * left
    if found:
        found[-1] = found[-1][0], past
    return found
