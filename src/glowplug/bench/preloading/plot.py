"""Pictures of `preloading`: mean loading latency by system, over the share of memory where a part has
several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec

Row = dict[str, Any]

_TITLES = {
    "table": "the published table",
    "nodes": "with one router and with none",
    "mix": "four-hour mix, processes",
    "hour": "the recorded hour, processes",
    "jitter": "four-hour mix, timers off by up to 20 s",
    "plain": "without helpers, processes",
    "cpu": "four-hour mix, shares of a core",
    "zygote": "four-hour mix, zygotes and processes",
    "shared": "four-hour mix, weights shared by functions of one model",
    "wide": "four-hour mix on more nodes",
    "devices": "the recorded hour on virtual GPUs",
    "live": "on this machine",
}
_SPLIT_BY = {
    "table": ("trace_class",), "nodes": ("nodes", "memory_share"), "wide": ("nodes",), "devices": ("nodes",),
    "plain": ("trace",),
}  # fmt: skip
"""Parts that have a panel for each value of these fields."""
_COLUMNS = 3
_OURS, _BOUND = "ladder", "clairvoyant"


class Panel(msgspec.Struct, frozen=True):
    title: str
    rows: list[Row]

    @property
    def shares(self) -> list[float]:
        return sorted({row.get("memory_share") or 0.0 for row in self.rows})

    @property
    def curves(self) -> dict[tuple[str, str], list[Row]]:
        """By system and substrate, in the rows' order."""
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            found.setdefault((row["system"], row.get("substrate", "")), []).append(row)
        return found

    def label(self, system: str, substrate: str) -> str:
        several = len({other for _, other in self.curves}) > 1
        return f"{system}, {substrate}" if several else system


def panels(rows: Sequence[Row]) -> Iterator[Panel]:
    """Of the parts that have a loading latency."""
    for part, title in _TITLES.items():
        apart: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            if row["part"] == part:
                apart.setdefault(tuple(row[field] for field in _SPLIT_BY.get(part, ())), []).append(row)
        for values, mine in apart.items():
            words = map(_in_words, _SPLIT_BY.get(part, ()), values)
            yield Panel(": ".join(filter(None, (title, ", ".join(words)))), mine)


def _in_words(field: str, value: Any) -> str:
    return {"nodes": "{} nodes", "memory_share": "{:.0%} of memory"}.get(field, "{}").format(value)


def draw(rows: Sequence[Row], path: Path) -> None:
    """PNG or SVG by suffix. Raises ImportError, saying what to install, where matplotlib is missing, and
    ValueError where no row has a loading latency."""
    found = list(panels(rows))
    if not found:
        raise ValueError(f"nothing to draw: run one of the parts {', '.join(_TITLES)} too")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    columns = min(_COLUMNS, len(found))
    lines = -(-len(found) // columns)
    figure = Figure(figsize=(5.6 * columns, 5.6 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    colours = _colours(dict.fromkeys(system for panel in found for system, _ in panel.curves))
    for place, panel in enumerate(found, 1):
        axis = figure.add_subplot(lines, columns, place)
        if len(panel.shares) > 1:
            _draw_lines(axis, panel, colours)
        else:
            _draw_bars(axis, panel, colours)
        axis.set_title(panel.title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)


def _colours(systems: Iterable[str]) -> dict[str, Any]:
    """A colour for each system, no colour twice among twenty."""
    from matplotlib import colormaps

    palette = [colormaps["tab20"](number) for number in range(20)]
    in_order, red = [*palette[:6:2], *palette[8::2], *palette[1::2]], palette[6]
    others = [system for system in systems if system not in (_OURS, _BOUND)]
    colours = {system: in_order[number % len(in_order)] for number, system in enumerate(others)}
    return {**colours, _OURS: red, _BOUND: "black"}


def _draw_lines(axis: Any, panel: Panel, colours: dict[str, Any]) -> None:
    for (system, substrate), rows in panel.curves.items():
        by_share = {share: [row for row in rows if row["memory_share"] == share] for share in panel.shares}
        points = [(100 * share, _loading_s(mine)) for share, mine in by_share.items() if mine]
        axis.plot(
            *zip(*points, strict=True), "o-" if substrate != "zygote" else "s--", color=colours[system],
            label=panel.label(system, substrate), linewidth=2.4 if system == _OURS else 1.0, markersize=4,
        )  # fmt: skip
    axis.set_yscale("log")
    axis.set_xlabel("memory, % of what keeping all would need")
    axis.set_ylabel(f"mean loading latency, s ({_measured(panel)})")
    axis.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13))


def _draw_bars(axis: Any, panel: Panel, colours: dict[str, Any]) -> None:
    for place, ((system, _), rows) in enumerate(panel.curves.items()):
        value_s = _loading_s(rows)
        axis.barh(place, value_s, color=colours[system])
        axis.annotate(
            f"{value_s:.3g}", (value_s, place), xytext=(3, 0), textcoords="offset points", va="center",
            fontsize=7,
        )  # fmt: skip
    axis.set_yticks(range(len(panel.curves)), [panel.label(*each) for each in panel.curves], fontsize=7)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlabel(f"mean loading latency, s ({_measured(panel)})")


def _loading_s(rows: Sequence[Row]) -> float:
    return mean(float(row["loading_mean_s"]) for row in rows)


def _measured(panel: Panel) -> str:
    return "simulated" if panel.rows[0].get("simulated") else "measured"
