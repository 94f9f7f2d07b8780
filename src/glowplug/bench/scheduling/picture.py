"""Pictures of scheduling: latencies by system, what each device did when, and which model lay where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bench.pictures.device_lines import draw_contents, draw_work, height_inches, lanes_of
from glowplug.bench.pictures.fault_marks import draw_faults
from glowplug.bench.scheduling.cells import OURS, Cell, models_of, settings_of, trace_for
from glowplug.bench.scheduling.options import Options, Tell
from glowplug.sim.fleets import build
from glowplug.sim.outcomes import latencies_s, play, quantile
from glowplug.sim.planned_faults import Strike
from glowplug.sim.timeline import Interval, intervals

SHOWN_S = 180.0
SYSTEMS = ("lb", "lalb", "lalb-o3", "lalb-o3-overlap", "start-estimate", "mqfq-sticky", OURS)
_QUANTILES = 200
_WIDTH = 12.0
"""Inches."""


class Picture(msgspec.Struct, frozen=True):
    """`latencies` are quantiles of each system's latencies, evenly spaced; `timeline` is of one of them, and
    `struck` what happened to its devices."""

    latencies: dict[str, list[float]]
    timeline: list[Interval]
    title: str
    struck: list[Strike] = []


def observe(options: Options, tell: Tell) -> Picture:
    """One seed of every system at 35 models and 325 requests a minute."""
    latencies, timeline = {}, []
    for system in SYSTEMS if not options.quick else ("lb", OURS):
        tell(f"picture: {system}")
        cell = Cell(
            system=system, minutes=options.reproduction_minutes, devices=options.devices,
            device_bytes=options.device_bytes,
        )  # fmt: skip
        trace = trace_for(cell)
        fleet = build(settings_of(cell), models_of(cell), trace.functions, keep_log=system == OURS)
        play(fleet, trace)
        result = fleet.simulation.run((), 0.0)
        latencies[system] = evenly(latencies_s(result.answers))
        if system == OURS:
            timeline = intervals(result, SHOWN_S)
    minutes = f"{options.reproduction_minutes:g}"
    return Picture(latencies, timeline, f"35 models on 12 devices, 325 requests a minute, {minutes} minutes")


def evenly(ordered: Sequence[float]) -> list[float]:
    """As many quantiles as are drawn."""
    return [quantile(ordered, n / (_QUANTILES - 1)) for n in range(_QUANTILES)] if ordered else []


def draw(picture: Picture, path: Path) -> None:
    """Three panels; PNG or SVG by suffix. Raises ImportError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    seen = {each.device for each in picture.timeline} | {each.device for each in picture.struck}
    devices = sorted(seen, key=_natural)
    end_s = max((each.end_s for each in picture.timeline), default=1.0)
    lanes = lanes_of(picture.timeline, devices)
    heights = (3.2, 1.0 + 0.24 * len(devices), 0.5 + height_inches(lanes))
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.8))
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, height_ratios=heights)
    _latencies(top, picture.latencies)
    draw_work(middle, picture.timeline, devices, end_s)
    draw_faults(middle, picture.struck, devices, end_s)
    draw_contents(bottom, lanes, end_s, _WIDTH - 1.0)
    figure.suptitle(f"{picture.title} (simulated)", fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _latencies(axis: Any, latencies: Mapping[str, Sequence[float]]) -> None:
    for system, found in latencies.items():
        shares = [n / (len(found) - 1) for n in range(len(found))]
        axis.plot(found, shares, label=system, linewidth=1.2)
    axis.set_xscale("log")
    axis.set_xlabel("latency, s", fontsize=8)
    axis.set_title("share of requests answered by then", fontsize=9, loc="left")
    axis.legend(fontsize=7)
    axis.grid(alpha=0.3)


def _natural(name: str) -> tuple[str, int]:
    digits = "".join(letter for letter in name.rpartition("/")[2] if letter.isdigit())
    return name.rpartition("/")[0], int(digits or 0)
