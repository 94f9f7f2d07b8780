"""The stages of several loads side by side, as a Gantt chart: a panel a strategy, a lane a stage, a bar a
unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glowplug.loader.stages import STAGES, WHOLE, Timeline


def draw_gantt(timelines: Sequence[Timeline], title: str, path: Path) -> None:
    """All panels to one scale, PNG or SVG by suffix; and for each timeline `PATH.STRATEGY.perfetto.json`.

    Raises ImportError, saying what to install, where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11, 0.8 + 0.85 * len(timelines)))
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(1, len(timelines)), 1, sharex=True, squeeze=False)[:, 0]
    for axis, timeline in zip(axes, timelines, strict=True):
        for lane, stage in enumerate(reversed(STAGES)):
            bars = [one for one in timeline.intervals if one.stage == stage]
            shades = ["0.6" if one.unit == WHOLE else f"C{one.unit % 10}" for one in bars]
            spans = [(one.start_s * 1e3, max(one.end_s - one.start_s, 1e-5) * 1e3) for one in bars]
            axis.broken_barh(spans, (lane, 0.85), facecolors=shades)
        axis.axvline(timeline.end_s * 1e3, color="black", linewidth=0.8)
        axis.set_yticks([lane + 0.4 for lane in range(len(STAGES))], list(reversed(STAGES)), fontsize=6)
        axis.set_title(f"{timeline.strategy}: {timeline.end_s * 1e3:.0f} ms", fontsize=8, loc="left")
        path.with_suffix(f".{timeline.strategy}.perfetto.json").write_bytes(timeline.perfetto())
    axes[-1].set_xlabel("ms")
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
