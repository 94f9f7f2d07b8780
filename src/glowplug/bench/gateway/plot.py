"""The picture of experiment `gateway`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLOURS = {"ours": "C1", "peer": "C0", "floor": "0.7"}


def draw_load(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A row of two panels for each workload and number of connections: requests a second, and p99.

    Raises ImportError, saying what to install, where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    by_title = panels(rows)
    heights = [len(each) + 1.5 for each in by_title.values()]
    figure = Figure(figsize=(10, 1 + 0.3 * sum(heights)))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(by_title), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
    for (title, found), (left, right) in zip(by_title.items(), axes, strict=True):
        found = sorted(found, key=lambda row: row["rate"])
        _bars(left, found, "rate", 1.0, f"{title}: requests a second")
        _bars(right, found, "p99_s", 1e3, "p99, ms (log)")
        right.set_xscale("log")
        right.set_yticks([])
    figure.suptitle("gateway: medians, whiskers from least to most; grey are floors", fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def panels(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each workload and number of connections, under words for it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(f"{row['workload']}, {row['connections']} connections", []).append(row)
    return found


def _bars(axis: Any, rows: Sequence[dict[str, Any]], column: str, scale: float, title: str) -> None:
    places = range(len(rows))
    values = [row[column] * scale for row in rows]
    ends = [
        [value - row[f"{column}_min"] * scale for value, row in zip(values, rows, strict=True)],
        [row[f"{column}_max"] * scale - value for value, row in zip(values, rows, strict=True)],
    ]
    axis.barh(places, values, xerr=ends, color=[COLOURS[row["kind"]] for row in rows], capsize=2)
    for place, value in zip(places, values, strict=True):
        axis.text(value, place, f" {value:,.4g}", va="center", fontsize=7)
    axis.set_yticks(places, [row["system"] for row in rows], fontsize=8)
    axis.set_title(title, fontsize=9, loc="left")
    axis.margins(x=0.15)
