"""Ours against lalb-o3 on a grid of rates, working sets and popularities, on paired seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from glowplug.bench.kept_runs import Row
from glowplug.bench.pairs import paired_ratio
from glowplug.bench.result import Claim, claim
from glowplug.bench.scheduling.cells import OURS, Cell, Measure
from glowplug.bench.scheduling.options import Options

PART = "grid"
RIVAL = "lalb-o3"
RATES = (100.0, 200.0, 300.0, 400.0, 500.0)
WORKING_SETS = (10, 35, 70, 140)
POPULARITIES = ("0.3", "0.6", "0.9", "1.2")
WORSE_AT_MOST = 1.03

Point = tuple[float, int, str]


def points(count: int = 20) -> list[Point]:
    """(rate, working set, Zipf's exponent): every rate with every working set, the exponents dealt out so
    that each meets every rate and every working set as evenly as can be; the first `count` of these."""
    every = [
        (rate, size, POPULARITIES[(i + j) % len(POPULARITIES)])
        for i, rate in enumerate(RATES)
        for j, size in enumerate(WORKING_SETS)
    ]
    return every[:count]


def run(options: Options, measure: Measure) -> tuple[list[Row], list[Claim], list[str]]:
    cells = [
        Cell(
            system=system, popularity=popularity, working_set=size, rate_per_min=rate,
            minutes=options.grid_minutes, seed=seed, devices=options.devices,
            device_bytes=options.device_bytes,
        )
        for rate, size, popularity in points(options.grid_points)
        for seed in range(options.grid_seeds)
        for system in (RIVAL, OURS)
    ]  # fmt: skip
    rows = measure(PART, cells)
    lines = table(rows)
    worst = max(lines, key=lambda line: line["high"])
    words = (
        f"grid of {len(lines)} points: ours / {RIVAL} in mean latency, upper 95 % bound at the worst "
        f"({worst['rate']:g} a minute, {worst['models']} models, Zipf {worst['zipf']})"
    )
    bounded = sum(line["high"] < WORSE_AT_MOST for line in lines)
    return rows, [
        claim(words, worst["high"], "at most", WORSE_AT_MOST),
        claim(f"grid: points whose bound is below {WORSE_AT_MOST}", bounded, "at least", len(lines)),
    ], []  # fmt: skip


def table(rows: Sequence[Row]) -> list[Row]:
    """A line for each point: ours over the rival's, in mean and p99, with 95 % intervals over the seeds."""
    groups: dict[tuple[float, int, str], dict[str, list[Row]]] = {}
    for row in rows:
        if row["part"] == PART:
            point = (row["rate_per_min"], row["working_set"], row["popularity"])
            groups.setdefault(point, {}).setdefault(row["policy"], []).append(row)
    lines = []
    for (rate, size, popularity), systems in groups.items():
        ours, theirs = (sorted(systems[name], key=lambda row: row["seed"]) for name in (OURS, RIVAL))
        mean, p99 = (
            paired_ratio([row[field] for row in ours], [row[field] for row in theirs])
            for field in ("mean_s", "p99_s")
        )
        lines.append(
            {
                "rate": rate, "models": size, "zipf": popularity,
                "load": fmean(row["offered_load"] for row in ours),
                "ours_mean_s": fmean(row["mean_s"] for row in ours),
                "rival_mean_s": fmean(row["mean_s"] for row in theirs),
                "ratio": mean.ratio, "low": mean.low, "high": mean.high,
                "p99_ratio": p99.ratio, "p99_low": p99.low, "p99_high": p99.high, "seeds": mean.pairs,
            }
        )  # fmt: skip
    return lines
