"""The picture of a workload: calls over time, popularity, how regular functions are, gaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from glowplug.sim.workloads.gaps import NORMAL_FROM, NORMAL_TO, gaps, variation
from glowplug.sim.workloads.trace import Trace

BINS = 240
MAX_GAPS = 100_000


def draw_workload(trace: Trace, title: str, path: Path) -> None:
    """PNG or SVG by suffix. Raises ImportError, saying what to install, where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    figure = Figure(figsize=(11, 7))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    _arrivals(axes[0][0], trace)
    _popularity(axes[0][1], trace)
    _variation(axes[1][0], trace)
    _gaps(axes[1][1], trace)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _arrivals(axis: Any, trace: Trace) -> None:
    counts, edges = np.histogram(trace.times_s, bins=BINS, range=(0, trace.span_s))
    axis.stairs(counts * 60 * BINS / trace.span_s, edges / 60, fill=True)
    axis.set_title("calls a minute", fontsize=9, loc="left")
    axis.set_xlabel("minutes", fontsize=8)


def _popularity(axis: Any, trace: Trace) -> None:
    counts = np.sort(trace.counts())[::-1]
    counts = counts[counts > 0]
    axis.plot(np.arange(1, len(counts) + 1), counts, marker=".", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title("calls by rank of the function", fontsize=9, loc="left")


def _variation(axis: Any, trace: Trace) -> None:
    found = variation(trace)
    known = np.clip(found[~np.isnan(found)], 0.01, 100)
    axis.hist(known, bins=np.geomspace(0.01, 100, 61))
    for bound in (NORMAL_FROM, NORMAL_TO):
        axis.axvline(bound, color="0.5", linewidth=0.8)
    axis.set_xscale("log")
    few = len(found) - len(known)
    axis.set_title(
        f"functions by the variation of their gaps ({few:,} have too few calls)", fontsize=9, loc="left"
    )


def _gaps(axis: Any, trace: Trace) -> None:
    gap_s, _ = gaps(trace)
    gap_s = np.maximum(np.sort(gap_s), 1e-3)
    if len(gap_s) > MAX_GAPS:
        gap_s = gap_s[np.linspace(0, len(gap_s) - 1, MAX_GAPS).astype(np.int64)]
    axis.plot(gap_s, np.linspace(0, 1, len(gap_s)), linewidth=0.8)
    axis.set_xscale("log")
    axis.set_title("share of gaps up to, seconds", fontsize=9, loc="left")
