"""The highest rate that keeps p99 below a bound, by bisection, without batching and with measured batches."""

from __future__ import annotations

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
    for size, target in sizes.items():
        found = {}
        for system, eviction in SYSTEMS if not options.quick else (("lalb-o3", ""), (OURS, "")):
            cell = _cell(options, system, eviction, size, {})
            found[system, eviction] = _highest(options, measure, cell)
            rows.append(_row(options, cell, found[system, eviction]))
        if ratio:
            cell = _cell(options, OURS, "", size, ratio)
            rows.append(_row(options, cell, _highest(options, measure, cell)))
        words = f"working set {size}: highest rate with p99 under {P99_S:g} s, ours / lalb-o3's"
        claims.append(claim(words, found[OURS, ""] / found["lalb-o3", ""], "at least", target))
    missing = [] if ratio else ["rates with batching: no batch costs were measured in this run"]
    return rows, claims, missing


def usable(batch_ratio: dict[int, float]) -> dict[int, float]:
    """Of what was measured the sizes that are made here."""
    return {size: times for size, times in batch_ratio.items() if size <= LARGEST_BATCH}


def _highest(options: Options, measure: Measure, cell: Cell) -> float:
    """Requests a minute: the highest found to hold, and no more than `rates_step` below one that does not."""
    holds, fails = LOWEST, HIGHEST
    while fails - holds > options.rates_step:
        rate = (holds + fails) / 2
        if _p99_s(options, measure, cell, rate) < P99_S:
            holds = rate
        else:
            fails = rate
    return holds


def _p99_s(options: Options, measure: Measure, cell: Cell, rate: float) -> float:
    """The median of the seeds, or what is surely less."""

    def median_s(cell: Cell) -> float:
        cells = [
            msgspec.structs.replace(cell, rate_per_min=rate, seed=seed) for seed in range(options.rates_seeds)
        ]
        found: list[float] = [row["p99_s"] for row in measure(PART, cells)]
        return median(found)

    if not cell.batch_ratio:
        least_s = median_s(msgspec.structs.replace(cell, system=FLOOR, eviction=""))
        if least_s > _HOPELESS_S:
            return least_s
    return median_s(cell)


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
