"""The picture of `endurance`: memory under the long tail and over the soak, and all latencies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from glowplug.bench.result import Result

Row = dict[str, Any]


def draw(result: Result, path: Path) -> None:
    """Raises ImportError, saying what to install, where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    rows = {row["scenario"]: row for row in result.rows}
    panels: list[Callable[[Any], None]] = []
    if "longtail" in rows:
        panels.append(lambda axes: _longtail(axes, rows["longtail"], result.settings["budget_bytes"]))
    if "soak" in rows:
        panels.append(lambda axes: _soak(axes, rows["soak"]))
    panels.append(lambda axes: _latencies(axes, result.rows))
    figure = Figure(figsize=(10, 3.6 * len(panels)), layout="constrained")
    for axes, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        panel(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _longtail(axes: Any, row: Row, budget_bytes: int) -> None:
    axes.plot([at_s for at_s, _ in row["samples"]], [held / 1e9 for _, held in row["samples"]], label="held")
    axes.axhline(budget_bytes / 1e9, color="red", linestyle="--", label="budget")
    axes.set(xlabel="seconds", ylabel="GB", title="long tail: memory of all functions")
    axes.legend()


def _soak(axes: Any, row: Row) -> None:
    for name in ("server", "agent"):
        samples = row[f"{name}_samples"]
        axes.plot([each[0] for each in samples], [each[1] / 1e6 for each in samples], label=name)
    axes.set(xlabel="seconds", ylabel="MB", title="soak: anonymous memory", ylim=(0, None))
    axes.legend()


def _latencies(axes: Any, rows: list[Row]) -> None:
    shown = [row for row in rows if row["p50_s"] > 0]
    places = range(len(shown))
    for name, colour in (("p99_s", "C1"), ("p50_s", "C0")):
        axes.barh(places, [row[name] * 1e3 for row in shown], color=colour, label=name.removesuffix("_s"))
    axes.set_yticks(places, [row["scenario"] for row in shown], fontsize=8)
    axes.set(xlabel="ms", xscale="log", title="latency of right answers")
    axes.invert_yaxis()
    axes.legend()
