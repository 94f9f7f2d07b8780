"""Phases of a request as coloured bars for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from glowplug.core.ladder import PHASES
from glowplug.core.units import show_seconds

COLOURS = dict(
    zip(
        PHASES,
        ("grey50", "yellow", "red", "magenta", "blue", "cyan", "green", "bright_green", "white"),
        strict=True,
    )
)
REST = "rest"
"""What the client waited for and no phase explains: the way there and back."""
WORTH_NAMING = 0.02
"""Phases below this share of their request are drawn but not named."""


class Line(NamedTuple):
    """One request. `phases` are seconds by the names of core.ladder.PHASES."""

    label: str
    total_s: float
    phases: dict[str, float]


def timeline(lines: Sequence[Line], width: int = 60) -> Table:
    """Bars on one scale, the longest `width` columns; below each the phases that matter, in words."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column()
    longest_s = max((line.total_s for line in lines), default=0.0) or 1.0
    for line in lines:
        phases = with_rest(line)
        table.add_row(line.label, show_seconds(line.total_s), bar(phases, width * line.total_s / longest_s))
        table.add_row("", "", words(phases, line.total_s))
    return table


def with_rest(line: Line) -> dict[str, float]:
    """The phases in their order, and what they leave of the total."""
    known = {name: line.phases[name] for name in PHASES if line.phases.get(name, 0.0) > 0.0}
    rest_s = line.total_s - sum(known.values())
    return {**known, REST: rest_s} if rest_s > 0.0 else known


def bar(phases: dict[str, float], columns: float) -> Text:
    """Phases side by side, at least one column in all, each boundary rounded where it falls."""
    total_s = sum(phases.values()) or 1.0
    whole = max(1, round(columns))
    text = Text()
    passed_s, drawn = 0.0, 0
    for name, took_s in phases.items():
        passed_s += took_s
        end = round(whole * passed_s / total_s)
        text.append("█" * (end - drawn), style=COLOURS.get(name, "grey30"))
        drawn = end
    return text


def words(phases: dict[str, float], total_s: float) -> Text:
    text = Text()
    for name, took_s in phases.items():
        if took_s >= WORTH_NAMING * total_s:
            text.append(f"{name} ", style=COLOURS.get(name, "grey50"))
            text.append(f"{show_seconds(took_s)}  ", style="dim")
    return text
