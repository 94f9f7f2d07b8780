"""Pictures of scheduling: latencies by system, what each device did when, and which model lay where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bench.scheduling.cells import OURS, Cell, models_of, settings_of, trace_for
from glowplug.bench.scheduling.options import Options, Tell
from glowplug.sim.fleets import build
from glowplug.sim.outcomes import latencies_s, play, quantile
from glowplug.sim.timeline import Interval, intervals

SHOWN_S = 180.0
SYSTEMS = ("lb", "lalb", "lalb-o3", "lalb-o3-overlap", "start-estimate", "mqfq-sticky", OURS)
_QUANTILES = 200
_COLOURS = {"run": "C0", "load": "C3"}


class Picture(msgspec.Struct, frozen=True):
    """`latencies` are quantiles of each system's latencies, evenly spaced; `timeline` is of ours."""

    latencies: dict[str, list[float]]
    timeline: list[Interval]
    title: str


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
            timeline = [each for each in intervals(result, SHOWN_S) if each.start_s < SHOWN_S]
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
    figure = Figure(figsize=(11, 12))
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1)
    _latencies(top, picture.latencies)
    devices = sorted({each.device for each in picture.timeline}, key=_natural)
    _work(middle, picture.timeline, devices)
    _contents(bottom, picture.timeline, devices)
    bottom.set_xlim(middle.get_xlim())
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


def _work(axis: Any, timeline: Sequence[Interval], devices: Sequence[str]) -> None:
    """The upper half of a device's line are runs, the lower half loads."""
    for each in timeline:
        if each.kind in _COLOURS:
            place = devices.index(each.device) + (0.2 if each.kind == "run" else -0.2)
            axis.barh(
                place, each.end_s - each.start_s, left=each.start_s, height=0.36, color=_COLOURS[each.kind],
                edgecolor="white", linewidth=0.2,
            )  # fmt: skip
    _lines(axis, devices, "what each device did: runs above (blue), loads below (red)")


def _contents(axis: Any, timeline: Sequence[Interval], devices: Sequence[str]) -> None:
    """A colour for each model; those that lie on a device at the same time share its line."""
    stays = sorted((each for each in timeline if each.kind == "lies"), key=lambda each: each.start_s)
    colours = {name: f"C{n % 10}" for n, name in enumerate(dict.fromkeys(each.function for each in stays))}
    lanes: dict[tuple[str, int], float] = {}
    placed = []
    for each in stays:
        lane = next(n for n in range(len(stays)) if lanes.get((each.device, n), -1.0) <= each.start_s)
        lanes[each.device, lane] = each.end_s
        placed.append((each, lane))
    most = max((lane for _, lane in placed), default=0) + 1
    for each, lane in placed:
        place = devices.index(each.device) - 0.4 + 0.8 * (lane + 0.5) / most
        axis.barh(
            place, each.end_s - each.start_s, left=each.start_s, height=0.8 / most * 0.9,
            color=colours[each.function],
        )  # fmt: skip
        if each.end_s - each.start_s > 4:
            name = each.function.partition(".")[0]
            axis.text(each.start_s, place, f" {name}", va="center", fontsize=4)
    _lines(axis, devices, "which models lay on each device")


def _lines(axis: Any, devices: Sequence[str], title: str) -> None:
    axis.set_yticks(range(len(devices)), devices, fontsize=7)
    axis.set_xlabel("seconds", fontsize=8)
    axis.set_title(title, fontsize=9, loc="left")


def _natural(name: str) -> tuple[str, int]:
    digits = "".join(letter for letter in name.rpartition("/")[2] if letter.isdigit())
    return name.rpartition("/")[0], int(digits or 0)
