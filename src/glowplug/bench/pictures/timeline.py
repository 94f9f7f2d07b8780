"""Requests as bars of phases on one scale, for comparing starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Group

from glowplug.cli import timeline as one
from glowplug.core.ladder import PHASES

REST = "rest"
"""What the client waited for and no phase explains: the way there and back."""
WIDTH = 40


class Line(NamedTuple):
    """One request. `phases` are seconds by the names of core.ladder.PHASES."""

    label: str
    total_s: float
    phases: dict[str, float]


def timeline(lines: Sequence[Line]) -> Group:
    """A bar for each line, the longest WIDTH columns, with the phases that matter in words."""
    longest_s = max((line.total_s for line in lines), default=0.0)
    widest = max((len(line.label) for line in lines), default=0)
    return Group(
        *(one.timeline(line.label.rjust(widest), with_rest(line), longest_s, WIDTH) for line in lines)
    )


def with_rest(line: Line) -> dict[str, float]:
    """The phases in their order, and what they leave of the total."""
    known = {name: line.phases[name] for name in PHASES if line.phases.get(name, 0.0) > 0.0}
    rest_s = line.total_s - sum(known.values())
    return {**known, REST: rest_s} if rest_s > 0.0 else known
