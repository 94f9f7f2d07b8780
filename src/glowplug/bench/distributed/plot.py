"""The picture of `distributed`: dollars of a run by its workers, a panel for each network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glowplug.bench.result import Result

_STYLES = {"published": "k:", "re-made, as published": "C3-", "re-made, our rows": "C1--", "ours": "C0-"}
_MARKS = {"queue": "o", "object": "s"}


def draw(result: Result, path: Path) -> None:
    """PNG or SVG by suffix. Raises ImportError, saying what to install, where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    rows = [row for row in result.rows if row["part"] in ("schemes", "formula")]
    sizes = sorted({row["neurons"] for row in rows if row["part"] == "schemes"})
    figure = Figure(figsize=(5 * max(1, len(sizes)), 4.5))
    FigureCanvasAgg(figure)
    for axis, neurons in zip(figure.subplots(1, max(1, len(sizes)), squeeze=False)[0], sizes, strict=False):
        _panel(axis, [row for row in rows if row["neurons"] == neurons])
        axis.set_title(f"N = {neurons}, {result.settings['layers']} layers", fontsize=9, loc="left")
    figure.suptitle(
        "one inference over P workers: dollars (simulated but for the published runs)", fontsize=10
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _panel(axis: Any, rows: list[dict[str, Any]]) -> None:
    """The middle delay; published runs beside it."""
    models = list(dict.fromkeys(row["delay_model"] for row in rows if row["part"] == "schemes"))
    model = models[len(models) // 2]
    for system, style in _STYLES.items():
        for channel, mark in _MARKS.items():
            line = sorted(
                (row["workers"], row["usd"])
                for row in rows
                if (row["system"], row["channel"]) == (system, channel)
                and row["delay_model"] in (model, None)
                and row.get("slowdown", 1.0) == 1.0
            )
            if line:
                axis.plot(*zip(*line, strict=True), style, marker=mark, label=f"{system}, {channel}")
    axis.set_yscale("log")
    axis.set_xlabel(f"workers ({model})")
    axis.set_ylabel("$")
    axis.legend(fontsize=6)
