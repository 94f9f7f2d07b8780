"""What each device did over time, and which models lay there: a line for each device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glowplug.sim.timeline import Interval

_KINDS = {"run": ("C0", 0.02), "load": ("C3", -0.38)}
"""Colour, and where above the middle of a device's line it begins."""
_LANE_INCHES = 0.12
_NAME_POINTS = 6
_LETTER_INCHES = 0.055
_NAMED_UP_TO = 250
"""So many lanes have room for names; of more the picture would grow too tall."""
_GAP = 0.6
"""Between two devices, in lanes."""

Lanes = Mapping[str, Sequence[tuple[Interval, int]]]
"""By device what lay there, each with its lane: what lies there at the same time has different ones."""


def lanes_of(timeline: Sequence[Interval], devices: Sequence[str]) -> Lanes:
    found: dict[str, list[tuple[Interval, int]]] = {device: [] for device in devices}
    ends_s: dict[str, list[float]] = {device: [] for device in devices}
    for each in sorted((each for each in timeline if each.kind == "lies"), key=lambda each: each.start_s):
        ends = ends_s[each.device]
        lane = next((n for n, end_s in enumerate(ends) if end_s <= each.start_s), len(ends))
        ends[lane : lane + 1] = [each.end_s]
        found[each.device].append((each, lane))
    return found


def height_inches(lanes: Lanes) -> float:
    """What `draw_contents` needs for names that can be read."""
    most = sum(_lanes(placed) + _GAP for placed in lanes.values())
    return max(2.0, _LANE_INCHES * min(most, _NAMED_UP_TO))


def draw_work(axis: Any, timeline: Sequence[Interval], devices: Sequence[str], end_s: float) -> None:
    """The upper half of a device's line are runs, the lower half loads."""
    for place, device in enumerate(devices):
        for kind, (colour, above) in _KINDS.items():
            spans = [_span(each) for each in timeline if (each.device, each.kind) == (device, kind)]
            axis.broken_barh(
                spans, (place + above, 0.36), facecolors=colour, edgecolor="white", linewidth=0.2
            )
    _finish(axis, range(len(devices)), devices, end_s)
    axis.set_title("what each device did: runs above (blue), loads below (red)", fontsize=9, loc="left")


def draw_contents(axis: Any, lanes: Lanes, end_s: float, width_inches: float) -> None:
    """A colour for each model, whose name stands where its bar has room for it."""
    from matplotlib import colormaps

    palette = colormaps["tab20"]
    names = dict.fromkeys(each.function for placed in lanes.values() for each, _ in placed)
    colours = {name: palette(number % palette.N) for number, name in enumerate(names)}
    named = sum(map(_lanes, lanes.values())) <= _NAMED_UP_TO
    bottom, middles = 0.0, []
    for placed in lanes.values():
        for each, lane in placed:
            colour = colours[each.function]
            axis.broken_barh([_span(each)], (bottom + lane, 0.92), facecolors=[colour])
            name = each.function.partition(".")[0]
            room_inches = width_inches * (each.end_s - each.start_s) / end_s
            if named and room_inches > _LETTER_INCHES * (len(name) + 1):
                axis.text(
                    each.start_s + _LETTER_INCHES / 2 * end_s / width_inches, bottom + lane + 0.44, name,
                    va="center", fontsize=_NAME_POINTS, color=_ink(colour),
                )  # fmt: skip
        middles.append(bottom + _lanes(placed) / 2)
        bottom += _lanes(placed) + _GAP
    _finish(axis, middles, list(lanes), end_s)
    axis.set_ylim(-_GAP, bottom)
    axis.set_title("which models lay on each device", fontsize=9, loc="left")


def _lanes(placed: Sequence[tuple[Interval, int]]) -> int:
    return max((lane for _, lane in placed), default=0) + 1


def _span(each: Interval) -> tuple[float, float]:
    return each.start_s, each.end_s - each.start_s


def _ink(colour: Sequence[float]) -> str:
    red, green, blue = colour[:3]
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else "black"


def _finish(axis: Any, places: Sequence[float], devices: Sequence[str], end_s: float) -> None:
    axis.set_yticks(places, devices, fontsize=7)
    axis.set_xlim(0.0, end_s)
    axis.set_xlabel("seconds", fontsize=8)
