"""The picture of experiment `calibration`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def draw_reliability(rows: Sequence[dict[str, Any]], predictors: Sequence[str], path: Path) -> None:
    """A panel for each trace and horizon: observed over said, a point's size by the number of predictions.

    Raises ImportError, saying what to install, where matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    traces = list(dict.fromkeys(row["trace"] for row in rows))
    horizons = list(dict.fromkeys(row["horizon_s"] for row in rows))
    seed = rows[0]["seed"]
    figure = Figure(figsize=(3.0 * len(traces), 3.3 * len(horizons) + 0.6))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(horizons), len(traces), squeeze=False)
    for line, horizon_s in zip(axes, horizons, strict=True):
        for axis, trace in zip(line, traces, strict=True):
            axis.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
            for row in rows:
                if (row["trace"], row["horizon_s"], row["seed"]) == (trace, horizon_s, seed):
                    _draw(axis, row, predictors)
            axis.set_title(f"{trace}\nwithin {horizon_s:g} s", fontsize=8)
            axis.tick_params(labelsize=7)
            axis.set_xlabel("chance that was said", fontsize=7)
        line[0].set_ylabel("share that came", fontsize=7)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=6, fontsize=8)
    figure.suptitle("share that came, over what was said", fontsize=10)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _draw(axis: Any, row: dict[str, Any], predictors: Sequence[str]) -> None:
    if row["predictor"] not in predictors:
        return
    number = list(predictors).index(row["predictor"])
    parts = row["parts"]
    x, y = ([part[name] for part in parts] for name in ("said", "came"))
    # The choice is the thick line in front; small parts are small points.
    first = number == 0
    axis.plot(
        x, y, color=f"C{number}", linewidth=1.8 if first else 0.7, alpha=1.0 if first else 0.6,
        label=row["predictor"], zorder=3 if first else 2,
    )  # fmt: skip
    sizes = [min(40.0, 2 + 4000 * part["predictions"] / row["predictions"]) for part in parts]
    axis.scatter(x, y, s=sizes, color=f"C{number}", zorder=3 if first else 2)
