"""The phases of requests as stacked bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from glowplug.bench.pictures.timeline import REST, Line, with_rest
from glowplug.core.ladder import PHASES


def draw_phases(panels: Mapping[str, Sequence[Line]], title: str, path: Path) -> None:
    """Stacked horizontal bars, one panel a key, all lengths to scale in their panel. PNG or SVG by suffix.

    Raises ImportError, saying what to install, where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    figure = Figure(figsize=(10, 1.2 + 0.9 * max(map(len, panels.values())) * len(panels) / 2))
    FigureCanvasAgg(figure)
    colours = {name: f"C{number}" for number, name in enumerate((*PHASES, REST))}
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (name, lines) in zip(axes, panels.items(), strict=True):
        for place, line in enumerate(reversed(lines)):
            start_s = 0.0
            for phase, took_s in with_rest(line).items():
                axis.barh(place, took_s * 1e3, left=start_s * 1e3, color=colours[phase])
                start_s += took_s
            axis.text(start_s * 1e3, place, f" {line.total_s * 1e3:.0f} ms", va="center", fontsize=8)
        axis.set_yticks(range(len(lines)), [line.label for line in reversed(lines)], fontsize=8)
        axis.set_title(name, fontsize=9, loc="left")
        axis.margins(x=0.12)
    axes[-1].set_xlabel("ms")
    handles = [Figure().subplots().barh(0, 1, color=colour)[0] for colour in colours.values()]
    figure.legend(handles, list(colours), loc="lower center", ncols=len(colours), fontsize=7)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
