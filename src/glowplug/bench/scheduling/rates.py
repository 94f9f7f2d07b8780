"""The highest rate that keeps p99 below a bound, by bisection, without batching and with measured batches."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

from glowplug.bench.kept_runs import Row
from glowplug.bench.result import Claim, claim
from glowplug.bench.scheduling.cells import FLOOR, OUR_EVICTION, OURS, SIMULATED, Cell, Measure
from glowplug.bench.scheduling.options import Options

PART = "rates"
P99_S = 10.0
LOWEST, HIGHEST = 50.0, 900.0
SYSTEMS: tuple[tuple[str, str], ...] = (
    ("lalb-o3", ""), ("lalb-o3-overlap", ""), ("start-estimate", ""), ("lalb-o3-overlap", OUR_EVICTION),
    ("start-estimate", OUR_EVICTION), (OURS, ""), (FLOOR, ""),
)  # fmt: skip
"""(policy, eviction if not its own)."""
TARGETS = {35: 1.25, 70: 1.4}
LARGEST_BATCH = 8
_HOPELESS_S = 3 * P99_S
"""A rate at which the p99 is longer where every model lies everywhere is held by nobody, and not tried."""
LATENCY_TARGET_S = P99_S / 2
"""Of every function where there are batches."""


def run(
    options: Options, measure: Measure, batch_ratio: dict[int, float]
) -> tuple[list[Row], list[Claim], list[str]]:
    """`batch_ratio` is what was measured of batches, in runs of one; empty when nothing was."""
    ratio = usable(batch_ratio)
    rows, claims = [], []
    sizes = TARGETS if not options.quick else {35: TARGETS[35]}
    systems = SYSTEMS if not options.quick else (("lalb-o3", ""), (OURS, ""))
    for size, target in sizes.items():
        cells = [_cell(options, system, eviction, size, {}) for system, eviction in systems]
        if ratio:
            cells.append(_cell(options, OURS, "", size, ratio))
        found = _highest(options, measure, cells)
        rows += [_row(options, cell, rate) for cell, rate in zip(cells, found, strict=True)]
        by_system = dict(zip(systems, found, strict=False))
        words = f"working set {size}: highest rate with p99 under {P99_S:g} s, ours / lalb-o3's"
        claims.append(claim(words, by_system[OURS, ""] / by_system["lalb-o3", ""], "at least", target))
    missing = [] if ratio else ["rates with batching: no batch costs were measured in this run"]
    return rows, claims, missing


def usable(batch_ratio: dict[int, float]) -> dict[int, float]:
    """Of what was measured the sizes that are made here."""
    return {size: times for size, times in batch_ratio.items() if size <= LARGEST_BATCH}


def _highest(options: Options, measure: Measure, cells: Sequence[Cell]) -> list[float]:
    """Requests a minute, of each: the highest found to hold, and no more than `rates_step` below one that
    does not. Step by step for all of them, so that they run side by side."""
    holds, fails = [LOWEST] * len(cells), [HIGHEST] * len(cells)
    while fails[0] - holds[0] > options.rates_step:
        tried = [
            msgspec.structs.replace(cell, rate_per_min=(held + failed) / 2)
            for cell, held, failed in zip(cells, holds, fails, strict=True)
        ]
        for number, p99_s in enumerate(_p99_s(options, measure, tried)):
            (holds if p99_s < P99_S else fails)[number] = tried[number].rate_per_min
    return holds


def _p99_s(options: Options, measure: Measure, cells: Sequence[Cell]) -> list[float]:
    """Of each the median of the seeds, or what is surely less."""
    alone = [number for number, cell in enumerate(cells) if not cell.batch_ratio]
    floors = [msgspec.structs.replace(cells[number], system=FLOOR, eviction="") for number in alone]
    found = [0.0] * len(cells)
    for number, least_s in zip(alone, _medians_s(options, measure, floors), strict=True):
        found[number] = least_s
    tried = [number for number, least_s in enumerate(found) if least_s <= _HOPELESS_S]
    made_s = _medians_s(options, measure, [cells[number] for number in tried])
    for number, p99_s in zip(tried, made_s, strict=True):
        found[number] = p99_s
    return found


def _medians_s(options: Options, measure: Measure, cells: Sequence[Cell]) -> list[float]:
    """Of each cell's p99."""
    seeds = range(options.rates_seeds)
    rows = measure(PART, [msgspec.structs.replace(cell, seed=seed) for cell in cells for seed in seeds])
    return [
        median(row["p99_s"] for row in rows[first : first + len(seeds)])
        for first in range(0, len(rows), len(seeds))
    ]


def _cell(options: Options, system: str, eviction: str, size: int, batch_ratio: dict[int, float]) -> Cell:
    return Cell(
        system=system, eviction=eviction, working_set=size, minutes=options.rates_minutes,
        devices=options.devices, device_bytes=options.device_bytes, batch_ratio=batch_ratio,
        latency_target_s=LATENCY_TARGET_S if batch_ratio else 0.0,
    )  # fmt: skip


def _row(options: Options, cell: Cell, rate_per_min: float) -> Row:
    return {
        "part": PART, "system": cell.system.removesuffix("-overlap"), "policy": cell.system,
        "overlap": cell.overlaps, "eviction": cell.evicts, "loader": cell.loader,
        "popularity": cell.popularity, "working_set": cell.working_set, "batching": bool(cell.batch_ratio),
        "duration_s": cell.minutes * 60, "seeds": options.rates_seeds, "p99_bound_s": P99_S,
        "highest_rate_per_min": rate_per_min, "simulated": SIMULATED,
    }  # fmt: skip
