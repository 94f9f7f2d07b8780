"""The same loads where a miss costs a copy: our loader, with its tier in host memory, by bandwidth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import msgspec

from glowplug.bench.kept_runs import Row
from glowplug.bench.result import Claim
from glowplug.bench.scheduling.cells import OURS, SIMULATED, Cell, Measure
from glowplug.bench.scheduling.options import Options

PART = "loader"
SYSTEMS = ("lb", "lalb-o3", "lalb-o3-overlap", OURS)
POINTS = ((35, 325.0), (35, 450.0), (70, 325.0))
SLOWEST_BYTES_S, FASTEST_BYTES_S = 0.25e9, 64e9
FOUND_WITHIN = 1.05
BREAK_EVEN = (
    ("ours, with the paper's loader", OURS, OURS),
    ("lalb-o3, with the paper's loader", "lalb-o3", "lb"),
)  # fmt: skip
"""(what is to be reached, by which policy it is set, and which one reaches it with our loader). The second
asks from which bandwidth on it no longer matters where requests go."""


def run(options: Options, measure: Measure) -> tuple[list[Row], list[Claim], list[str]]:
    points = POINTS if not options.quick else POINTS[:1]
    cells = []
    for size, rate in points:
        for seed in range(options.seeds):
            for system in SYSTEMS:
                base = _cell(options, system, size, rate, seed)
                cells.append(base)
                cells += [_with_ours(options, base, bytes_s) for bytes_s in options.bandwidths_bytes_s]
    rows = measure(PART, cells)
    for size, rate in points if not options.quick else ():
        rows += [_break_even(options, measure, size, rate, *case) for case in BREAK_EVEN]
    return rows, [], []


def _break_even(
    options: Options, measure: Measure, size: int, rate: float, words: str, setter: str, reacher: str
) -> Row:
    """The least bandwidth at which the mean latency is reached, within 5 %; None when none does."""

    def mean_s(change: Callable[[Cell], Cell], system: str) -> float:
        cells = [change(_cell(options, system, size, rate, seed)) for seed in range(options.rates_seeds)]
        return fmean(row["mean_s"] for row in measure(PART, cells))

    target_s = mean_s(lambda cell: cell, setter)

    def reached(bytes_s: float) -> bool:
        return mean_s(lambda cell: _with_ours(options, cell, bytes_s), reacher) <= target_s

    low, high = SLOWEST_BYTES_S, FASTEST_BYTES_S
    found: float | None = None
    if reached(high):
        while high / low > FOUND_WITHIN:
            middle = (low * high) ** 0.5
            low, high = (low, middle) if reached(middle) else (middle, high)
        found = high
    return {
        "part": PART, "system": reacher.removesuffix("-overlap"), "policy": reacher, "loader": "ours",
        "overlap": reacher == OURS, "popularity": "0.9", "working_set": size, "rate_per_min": rate,
        "break_even_with": words, "target_mean_s": target_s, "break_even_bytes_s": found,
        "seeds": options.rates_seeds, "duration_s": options.minutes * 60, "simulated": SIMULATED,
    }  # fmt: skip


def _cell(options: Options, system: str, size: int, rate: float, seed: int) -> Cell:
    return Cell(
        system=system, working_set=size, rate_per_min=rate, minutes=options.minutes, seed=seed,
        devices=options.devices, device_bytes=options.device_bytes,
    )  # fmt: skip


def _with_ours(options: Options, cell: Cell, copy_bytes_per_s: float) -> Cell:
    return msgspec.structs.replace(
        cell, loader="ours", copy_bytes_per_s=copy_bytes_per_s, nodes=options.nodes,
        host_bytes=options.host_bytes,
    )  # fmt: skip


FIELDS = {
    "load": "offered_load", "mean_s": "mean_s", "p99_s": "p99_s", "misses": "miss_ratio",
    "loads": "load_ratio", "busy": "utilisation",
}  # fmt: skip
"""What a column shows."""


def table(rows: Sequence[Row]) -> list[Row]:
    """A line for each point, system and loader, means over the seeds."""
    groups: dict[tuple[int, float, str, float], list[Row]] = {}
    for row in rows:
        if row["part"] == PART and "mean_s" in row:
            bytes_s = row["copy_bytes_per_s"] if row["loader"] == "ours" else 0.0
            key = (row["working_set"], row["rate_per_min"], row["policy"], bytes_s)
            groups.setdefault(key, []).append(row)
    return [
        {
            "models": size, "rate": rate, "system": policy,
            "loader": f"ours, {bytes_s / 1e9:g} GB/s" if bytes_s else "paper",
            **{shown: fmean(row[field] for row in found) for shown, field in FIELDS.items()},
        }
        for (size, rate, policy, bytes_s), found in sorted(groups.items())
    ]  # fmt: skip
