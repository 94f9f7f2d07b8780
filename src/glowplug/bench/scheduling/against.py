"""Ours against today's schedulers, same profiles and loads, and the floor that no scheduler gets below."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import msgspec

from glowplug.bench.kept_runs import Row
from glowplug.bench.pairs import paired_ratio
from glowplug.bench.result import Claim, claim
from glowplug.bench.scheduling.cells import FLOOR, OUR_EVICTION, OURS, PUBLISHED_EVICTION, Cell, Measure
from glowplug.bench.scheduling.options import Options
from glowplug.bench.scheduling.rates import LATENCY_TARGET_S, usable

PART = "against"
RIVALS = {"lalb-o3": (PUBLISHED_EVICTION,), "lalb-o3-overlap": (PUBLISHED_EVICTION, OUR_EVICTION)}
"""Those that a claim is about, with the evictions of which the better counts: what was published has its own,
what is of our making the best that there is."""
SYSTEMS: tuple[tuple[str, str], ...] = (
    ("lb", ""), ("lb-overlap", ""), ("lalb", ""), ("lalb-overlap", ""), ("lalb-o3", ""),
    ("lalb-o3-overlap", ""), ("mqfq-sticky", ""), ("start-estimate", ""), (OURS, ""),
    ("lalb-o3-overlap", OUR_EVICTION), ("mqfq-sticky", OUR_EVICTION), ("start-estimate", OUR_EVICTION),
    (OURS, PUBLISHED_EVICTION), (FLOOR, ""),
)  # fmt: skip
"""(policy, eviction if not its own): those with another show what the eviction policy has to do with it."""
POINTS = ((15, 325.0), (35, 325.0), (35, 450.0), (70, 325.0))
TARGETS = {
    (35, 325.0): {"mean_s": 1.15, "p99_s": 1.3},
    (35, 450.0): {"mean_s": 2.0},
    (70, 325.0): {"mean_s": 1.8},
}


def run(
    options: Options, measure: Measure, batch_ratio: dict[int, float]
) -> tuple[list[Row], list[Claim], list[str]]:
    """`batch_ratio` is what was measured of batches, in runs of one; empty when nothing was. No claim is
    about batches."""
    points = POINTS if not options.quick else POINTS[1:2]
    cells = [
        Cell(
            system=system, eviction=eviction, working_set=size, rate_per_min=rate, minutes=options.minutes,
            seed=seed, devices=options.devices, device_bytes=options.device_bytes,
        )
        for size, rate in points
        for seed in range(options.seeds)
        for system, eviction in SYSTEMS
    ]  # fmt: skip
    ratio = usable(batch_ratio)
    if ratio:
        ours = [cell for cell in cells if (cell.system, cell.eviction) == (OURS, "")]
        cells += [
            msgspec.structs.replace(cell, batch_ratio=ratio, latency_target_s=LATENCY_TARGET_S)
            for cell in ours
        ]
    rows = measure(PART, cells)
    claims = []
    for point in points:
        here = [row for row in rows if (row["working_set"], row["rate_per_min"]) == point]
        for field, target in TARGETS.get(point, {}).items():
            for rival, evictions in RIVALS.items():
                times = min(_times(here, rival, eviction, field) for eviction in evictions)
                how = " with the better of its evictions" if len(evictions) > 1 else ""
                words = (
                    f"working set {point[0]} at {point[1]:g} a minute: {rival}'s {_WORDS[field]}{how} / ours"
                )
                claims.append(claim(words, times, "at least", target))
    missing = [] if ratio else ["ours with batches: no batch costs were measured in this run"]
    return rows, claims, missing


_WORDS = {"mean_s": "mean", "p99_s": "p99"}


def _times(rows: Sequence[Row], rival: str, eviction: str, field: str) -> float:
    theirs, ours = _by_seed(rows, rival, eviction, field), _by_seed(rows, OURS, OUR_EVICTION, field)
    return paired_ratio([theirs[seed] for seed in ours], list(ours.values())).ratio


def _by_seed(rows: Sequence[Row], policy: str, eviction: str, field: str) -> dict[int, float]:
    wanted = (policy, eviction, 0.0)
    return {
        row["seed"]: row[field]
        for row in rows
        if (row["policy"], row["eviction"], row["latency_target_s"]) == wanted
    }


def table(rows: Sequence[Row]) -> list[Row]:
    """A line for each system and point, means over the seeds; beside them how many times ours they are."""
    groups: dict[tuple[int, float, str, str, float], list[Row]] = {}
    for row in rows:
        if row["part"] == PART:
            system = (row["policy"], row["eviction"], row["latency_target_s"])
            groups.setdefault((row["working_set"], row["rate_per_min"], *system), []).append(row)
    lines = []
    for (size, rate, policy, eviction, target_s), found in groups.items():
        ours = groups[size, rate, OURS, OUR_EVICTION, 0.0]
        lines.append(
            {
                "models": size, "rate": rate, "system": f"{policy}, batches" if target_s else policy,
                "eviction": eviction if policy != FLOOR else None,
                **{shown: fmean(row[field] for row in found) for shown, field in FIELDS.items()},
                "mean_x": fmean(row["mean_s"] for row in found) / fmean(row["mean_s"] for row in ours),
                "p99_x": fmean(row["p99_s"] for row in found) / fmean(row["p99_s"] for row in ours),
            }
        )  # fmt: skip
    return lines


FIELDS = {
    "load": "offered_load", "mean_s": "mean_s", "p50_s": "p50_s", "p99_s": "p99_s", "misses": "miss_ratio",
    "false": "false_miss_ratio", "loads": "load_ratio",
}  # fmt: skip
"""What a column shows."""
