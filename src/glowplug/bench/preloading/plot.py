"""Pictures of `preloading`: mean loading latency over the share of memory, a panel a part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

_PANELS = {
    "mix": "four-hour mix, processes",
    "hour": "the recorded hour, processes",
    "zygote": "four-hour mix, zygotes and processes",
}


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """PNG or SVG by suffix. Raises ImportError, saying what to install, where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    parts = [part for part in _PANELS if any(row["part"] == part for row in rows)] or ["hour"]
    figure = Figure(figsize=(5 * len(parts), 4.2))
    FigureCanvasAgg(figure)
    for axis, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        here = [row for row in rows if row["part"] == part]
        for system, substrate in dict.fromkeys((row["system"], row["substrate"]) for row in here):
            mine = [row for row in here if (row["system"], row["substrate"]) == (system, substrate)]
            shares = sorted({row["memory_share"] for row in mine})
            values = [
                mean(r["loading_mean_s"] for r in mine if r["memory_share"] == share) for share in shares
            ]
            label = system if part != "zygote" else f"{system}, {substrate}"
            width = 2.2 if system == "ladder" else 1.0
            axis.plot([100 * share for share in shares], values, "o-", label=label, linewidth=width)
        axis.set_yscale("log")
        axis.set_xlabel("memory, % of what keeping all would need")
        axis.set_ylabel("mean loading latency, s (simulated)")
        axis.set_title(_PANELS[part], fontsize=9)
        axis.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=140)
