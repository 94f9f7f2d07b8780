"""What happened to devices, over the picture of what they did: a line for each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glowplug.sim.planned_faults import Strike

_SHORT = {"loads": "loads fail", "memory": "memory lost", "slow": "slow", "gone": "gone"}


def draw_faults(axis: Any, struck: Sequence[Strike], devices: Sequence[str], end_s: float) -> None:
    """A mark with its name where each began, before `end_s`, and hatching for as long as it lasted."""
    for each in struck:
        if each.at_s >= end_s:
            continue
        place = devices.index(each.device)
        if each.harm in ("slow", "gone"):
            until_s = end_s if each.until_s is None else min(each.until_s, end_s)
            axis.broken_barh(
                [(each.at_s, until_s - each.at_s)], (place - 0.45, 0.9), facecolors="none",
                edgecolor="black", hatch="////" if each.harm == "gone" else "..", linewidth=0.5,
            )  # fmt: skip
        axis.plot([each.at_s] * 2, [place - 0.45, place + 0.45], color="black", linewidth=1.5)
        axis.text(
            each.at_s, place, f" {_SHORT[each.harm]}", va="center", fontsize=7, fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )  # fmt: skip
