"""Phases as pictures: a bar in the terminal, and the trace format that Perfetto and Chrome load."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from glowplug.core.ladder import PHASES
from glowplug.core.status import RequestTrace
from glowplug.core.units import show_seconds

_HUES = ("grey50", "purple", "magenta", "blue", "cyan", "yellow", "dark_orange", "red", "green", "grey37")
COLOURS = dict(zip(PHASES, _HUES, strict=True))
_WIDTH = 60


def timeline(label: str, phases: dict[str, float], full_s: float | None = None, width: int = _WIDTH) -> Text:
    """A bar whose pieces are the phases in order, as wide as their seconds; `full_s` is the full width."""
    total_s = sum(phases.values())
    scale = width / max(full_s or total_s, 1e-9)
    bar = Text(f"{label:>12} ")
    drawn, passed_s = 0, 0.0
    for name, seconds in phases.items():
        passed_s += seconds
        cells = round(passed_s * scale) - drawn
        drawn += cells
        bar.append("█" * cells, style=COLOURS.get(name, "white"))
    bar.append(" " * max(0, width - drawn))
    bar.append(f" {show_seconds(total_s)} ", style="bold")
    for name, seconds in phases.items():
        if seconds >= 0.01 * total_s and seconds >= 2e-5:
            bar.append(f" {name} {show_seconds(seconds)}", style=COLOURS.get(name, "white"))
    return bar


def perfetto(traces: list[RequestTrace]) -> dict[str, Any]:
    """Chrome's trace-event JSON: a track per function, a slice per request, its phases inside it."""
    events: list[dict[str, Any]] = []
    tracks: dict[str, int] = {}
    for trace in traces:
        track = tracks.setdefault(trace.function, len(tracks) + 1)
        at_us = trace.started_s * 1e6
        common = {"ph": "X", "pid": 1, "tid": track}
        facts = {
            "request": trace.request,
            "status": trace.status,
            "origin": trace.origin,
            "instance": trace.instance,
        }
        whole = {"name": f"request {trace.request}", "ts": at_us, "dur": trace.total_s * 1e6, "args": facts}
        events.append(common | whole)
        for name, seconds in trace.phases.items():
            events.append(common | {"name": name, "ts": at_us, "dur": seconds * 1e6})
            at_us += seconds * 1e6
    names = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": track, "args": {"name": function}}
        for function, track in tracks.items()
    ]
    return {"traceEvents": names + events, "displayTimeUnit": "ms"}
