"""Pictures of `glowplug replay`: what share of calls waited how long, memory over time, and on which step of
the ladder functions and bytes were, by policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glowplug.core.ladder import Step
from glowplug.sim.replays import Replayed
from glowplug.sim.standing import HELD_ON

_LEAST_S = 1e-3
_COLOURS = {
    "busy": "#7a1f1f", "parked": "#d1495b", "staged": "#edae49", "imported": "#66a182",
    "local": "#c9d6df", "moving": "#8d96a3",
}  # fmt: skip
_STANDING = (Step.BUSY, Step.PARKED, Step.STAGED, Step.IMPORTED, Step.LOCAL)
_HELD = ("parked", "staged", "imported", "local", "moving")


def draw(found: Mapping[str, Replayed], title: str, path: Path, *, simulated: bool = True) -> None:
    """PNG or SVG by suffix. Raises ImportError, saying what to install, where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    figure = Figure(figsize=(10, 3.8 + 2.1 * len(found)))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1 + len(found), 2, height_ratios=[1.8] + [1.0] * len(found))
    _draw_waits(figure.add_subplot(grid[0, 0]), found, simulated)
    _draw_memory(figure.add_subplot(grid[0, 1]), found)
    most_bytes = max(float(each.memory_bytes.max()) for each in found.values())
    for row, (name, replayed) in enumerate(found.items(), 1):
        functions, held = figure.add_subplot(grid[row, 0]), figure.add_subplot(grid[row, 1])
        _draw_functions(functions, name, replayed)
        _draw_bytes(held, name, replayed, most_bytes)
        for axis in (functions, held):
            if row == len(found):
                axis.set_xlabel("minutes")
    patches = [Patch(color=colour, label=place) for place, colour in _COLOURS.items()]
    figure.legend(handles=patches, fontsize=8, loc="lower center", ncols=len(patches))
    figure.suptitle(title, fontsize=9)
    figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
    figure.savefig(path, dpi=140)


def _draw_waits(axis: Any, found: Mapping[str, Replayed], simulated: bool) -> None:
    for name, replayed in found.items():
        ordered = np.sort(np.maximum(replayed.latencies_s, _LEAST_S))
        if len(ordered):
            axis.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), label=name)
    axis.set_xscale("log")
    axis.tick_params(axis="x", which="minor", labelsize=6)
    axis.set_xlabel("latency, s (simulated)" if simulated else "latency, s")
    axis.set_ylabel("share of calls")
    if axis.lines:
        axis.legend(fontsize=8)


def _draw_memory(axis: Any, found: Mapping[str, Replayed]) -> None:
    for name, replayed in found.items():
        axis.plot(replayed.memory_s / 60.0, replayed.memory_bytes / 1e9, label=name)
    axis.set_ylim(bottom=0.0)
    axis.set_xlabel("minutes")
    axis.set_ylabel("GB held by all nodes")


def _draw_functions(axis: Any, name: str, replayed: Replayed) -> None:
    counts = [(replayed.steps == step).sum(axis=1) for step in _STANDING]
    labels = [step.label for step in _STANDING]
    _stack(axis, replayed, labels, counts)
    axis.set_ylim(0, replayed.steps.shape[1])
    axis.set_title(f"{name}: functions by step", fontsize=8, loc="left")


def _draw_bytes(axis: Any, name: str, replayed: Replayed, most_bytes: float) -> None:
    held = [replayed.held_bytes[:, HELD_ON.index(place)] / 1e9 for place in _HELD]
    _stack(axis, replayed, _HELD, held)
    axis.set_ylim(0.0, max(1.05 * most_bytes, 1.0) / 1e9)
    axis.set_title(f"{name}: GB by step", fontsize=8, loc="left")


def _stack(axis: Any, replayed: Replayed, labels: Any, layers: Any) -> None:
    colours = [_COLOURS[label] for label in labels]
    axis.stackplot(replayed.memory_s / 60.0, *layers, colors=colours, step="post", linewidth=0)
    axis.margins(x=0.0)
