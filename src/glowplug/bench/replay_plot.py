"""Pictures of `glowplug replay`: what share of calls waited how long, and memory over time, by policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from glowplug.sim.replays import Replayed

_LEAST_S = 1e-3


def draw(found: Mapping[str, Replayed], title: str, path: Path) -> None:
    """PNG or SVG by suffix. Raises ImportError, saying what to install, where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    figure = Figure(figsize=(10, 4.2))
    FigureCanvasAgg(figure)
    waits, memory = figure.subplots(1, 2)
    for name, replayed in found.items():
        ordered = np.sort(np.maximum(replayed.latencies_s, _LEAST_S))
        if len(ordered):
            waits.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), label=name)
        memory.plot(replayed.memory_s / 60.0, replayed.memory_bytes / 1e9, label=name)
    waits.set_xscale("log")
    waits.set_xlabel("latency, s (simulated)")
    waits.set_ylabel("share of calls")
    memory.set_xlabel("minutes")
    memory.set_ylabel("GB held by all nodes")
    waits.legend(fontsize=8)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=140)
