"""The published comparison again: lb, lalb and lalb-o3, with the trace's own counts and with Zipf's."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from glowplug.bench.kept_runs import Row
from glowplug.bench.recorded_hour import no_hour
from glowplug.bench.result import Claim
from glowplug.bench.scheduling.cells import Cell, Measure
from glowplug.bench.scheduling.options import Options
from glowplug.sim.models import read_models

PART = "reproduction"
SYSTEMS = ("lb", "lalb", "lalb-o3")
WORKING_SETS = (15, 25, 35)
POPULARITIES = ("azure", "0.3", "0.9", "1.2")
RATE_PER_MIN = 325.0
PUBLISHED = {
    ("lalb", 15): {"mean": 0.9774},
    ("lalb", 25): {"mean": 0.9333},
    ("lalb", 35): {"mean": 0.7943, "misses": 0.6521},
    ("lalb-o3", 35): {"mean": 0.9693, "misses": 0.8116},
}
"""By how much less than with `lb` (Zhao et al., recalled): mean latency and misses."""


def run(options: Options, measure: Measure) -> tuple[list[Row], list[Claim], list[str]]:
    """Every system on every popularity and working set. There is nothing to claim: how much better a
    scheduler is than one that is overloaded says how long the overload lasted."""
    missing = []
    popularities: Sequence[str] = POPULARITIES if not options.quick else ("azure", "0.9")
    absent = no_hour(options.traces, "traces")
    if absent is not None:
        popularities = [name for name in popularities if name != "azure"]
        missing.append(f"reproduction with the trace's own counts: {absent}")
    cells = [
        Cell(
            system=system, popularity=popularity, working_set=size, rate_per_min=RATE_PER_MIN,
            minutes=options.reproduction_minutes, seed=seed, devices=options.devices,
            device_bytes=options.device_bytes, traces=options.traces if popularity == "azure" else "",
        )
        for popularity in popularities
        for size in (WORKING_SETS if not options.quick else WORKING_SETS[:1])
        for seed in range(options.seeds)
        for system in SYSTEMS
    ]  # fmt: skip
    return measure(PART, cells), [], missing


def table(rows: Sequence[Row]) -> list[Row]:
    """A line for each system, popularity and working set, means over the seeds; what was published beside."""
    groups: dict[tuple[str, int], dict[str, list[Row]]] = {}
    for row in rows:
        if row["part"] == PART:
            systems = groups.setdefault((row["popularity"], row["working_set"]), {})
            systems.setdefault(row["policy"], []).append(row)
    lines = []
    for (popularity, size), systems in groups.items():
        base = systems["lb"]
        for system, found in systems.items():
            published = PUBLISHED.get((system, size), {})
            lines.append(
                {
                    "calls": popularity, "models": size, "system": system,
                    "load": _mean(found, "offered_load"),
                    "with_loads": _with_loads(found),
                    "mean_s": _mean(found, "mean_s"),
                    "p99_s": _mean(found, "p99_s"),
                    "times_lb": _mean(base, "mean_s") / _mean(found, "mean_s"),
                    "less_mean": 1 - _mean(found, "mean_s") / _mean(base, "mean_s"),
                    "paper_mean": published.get("mean"),
                    "less_misses": 1 - _mean(found, "miss_ratio") / _mean(base, "miss_ratio"),
                    "paper_misses": published.get("misses"),
                    "misses": _mean(found, "miss_ratio"),
                    "false": _mean(found, "false_miss_ratio"),
                    "copies": _mean(found, "hottest_copies"),
                }
            )  # fmt: skip
    return lines


def _with_loads(rows: Sequence[Row]) -> float:
    """Of the devices' time in the window: what runs and the loads that were made take together."""
    models = read_models()
    load_s = fmean(model.load_s for model in models)
    return fmean(
        row["offered_load"] + row["loads"] * load_s / (row["devices"] * row["duration_s"]) for row in rows
    )


def _mean(rows: Sequence[Row], field: str) -> float:
    return fmean(row[field] for row in rows)
