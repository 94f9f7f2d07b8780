"""A context for each model, as the profiles have it, or one on each device that all models share.

Sharing needs all functions of a device to be of one namespace, for they share a process with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from glowplug.bench.kept_runs import Row
from glowplug.bench.result import Claim
from glowplug.bench.scheduling.cells import OURS, Cell, Measure
from glowplug.bench.scheduling.options import Options

PART = "contexts"
SYSTEMS = ("lalb-o3", OURS)
POINTS = ((35, 325.0), (35, 450.0), (70, 325.0))
CONTEXT_BYTES = 1_100 * 10**6
"""Assumed, of the least profile's 1,269 MB; 835 MB were seen on another card (core.devices.CARD_CONTEXT).
Loads count as long as before."""


def run(options: Options, measure: Measure) -> tuple[list[Row], list[Claim], list[str]]:
    """No claim is about it: it is a gain that is not taken live (decision 043)."""
    cells = [
        Cell(
            system=system, working_set=size, rate_per_min=rate, minutes=options.minutes, seed=seed,
            devices=options.devices, device_bytes=options.device_bytes, shared_context_bytes=shared_bytes,
        )
        for size, rate in (POINTS if not options.quick else POINTS[:1])
        for system in (SYSTEMS if not options.quick else (OURS,))
        for shared_bytes in (0, CONTEXT_BYTES)
        for seed in range(options.seeds)
    ]  # fmt: skip
    return measure(PART, cells), [], []


FIELDS = {
    "load": "offered_load", "mean_s": "mean_s", "p99_s": "p99_s", "misses": "miss_ratio",
    "loads": "load_ratio", "copies": "hottest_copies",
}  # fmt: skip
"""What a column shows."""


def table(rows: Sequence[Row]) -> list[Row]:
    """A line for each point, system and kind of context, means over the seeds; `mean_x` and `p99_x` are how
    many times as long it takes with a context for each model."""
    groups: dict[tuple[int, float, str, int], list[Row]] = {}
    for row in rows:
        if row["part"] == PART:
            key = (row["working_set"], row["rate_per_min"], row["policy"], row["shared_context_bytes"])
            groups.setdefault(key, []).append(row)
    lines = []
    for (size, rate, policy, shared_bytes), found in groups.items():
        line: Row = {
            "models": size, "rate": rate, "system": policy,
            "contexts": "one a device" if shared_bytes else "one a model",
            **{shown: fmean(row[field] for row in found) for shown, field in FIELDS.items()},
        }  # fmt: skip
        apart = groups[size, rate, policy, 0]
        for field in ("mean_s", "p99_s"):
            line[field.replace("_s", "_x")] = fmean(row[field] for row in apart) / line[field]
        lines.append(line)
    return lines
