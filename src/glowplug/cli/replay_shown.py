"""What `glowplug replay` reads of a workload and shows of its policies: rows, their table, and a picture."""

from __future__ import annotations

import sys
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from glowplug.cli.output import console, drawing, plain_table
from glowplug.core.errors import InvalidWorkload
from glowplug.core.ladder import Step
from glowplug.core.units import show_bytes, show_seconds
from glowplug.sim.replays import Replayed
from glowplug.sim.standing import HELD_ON
from glowplug.sim.workloads.registry import parse
from glowplug.sim.workloads.trace import Trace


def calls_of(what: str, seed: int) -> tuple[Trace, int]:
    """The workload's calls, and the seed that they were drawn by: its own goes before `seed`. Raises
    InvalidWorkload where there are none."""
    made, own_seed = parse(what)
    seed = seed if own_seed is None else own_seed
    trace = made.trace(seed)
    if not trace.requests:
        raise InvalidWorkload(f"{what} has no calls")
    return trace, seed


def row(policy: str, found: Replayed, requests: int) -> dict[str, Any]:
    waits_s = found.waits_s
    answered = len(waits_s) > 0
    return {
        "policy": policy,
        "wait_mean_s": float(waits_s.mean()) if answered else None,
        "wait_p50_s": float(np.percentile(waits_s, 50)) if answered else None,
        "wait_p99_s": float(np.percentile(waits_s, 99)) if answered else None,
        "waited_share": found.waited / len(waits_s) if answered else None,
        "failed": found.failed,
        "loaded_ahead": found.started,
        "used_share": found.preloaded / max(1, requests),
        "wasted": found.wasted,
        "wasted_byte_s": found.wasted_byte_s,
        "load_ahead_s": found.cpu_s,
        "load_s": found.loading_s if isfinite(found.loading_s) else None,
        "held_mean_bytes": float(found.memory_bytes.mean()),
        "functions_mean_by_step": {
            step.label: float((found.steps == step).sum(axis=1).mean()) for step in Step if step
        },
        "held_mean_bytes_by_step": dict(zip(HELD_ON, found.held_bytes.mean(axis=0).tolist(), strict=True)),
    }


def show(rows: list[dict[str, Any]]) -> None:
    console.print(_table(rows))
    if any(row["failed"] for row in rows):
        console.print(
            "calls that failed, or had no answer in time, are in no other column: give more --memory",
            style="yellow",
            highlight=False,
        )


def _table(rows: list[dict[str, Any]]) -> Table:
    table = plain_table()
    names = ("POLICY", "WAIT", "P50", "P99", "WAITED", "AHEAD", "WASTED", "HELD", "FAILED")
    for name in names:
        table.add_column(name, justify="left" if name == "POLICY" else "right")
    for each in rows:
        waits = (each["wait_mean_s"], each["wait_p50_s"], each["wait_p99_s"])
        share = each["waited_share"]
        table.add_row(
            each["policy"], *("-" if wait is None else show_seconds(wait) for wait in waits),
            "-" if share is None else f"{share:.1%}", f"{each['loaded_ahead']:,}",
            f"{each['wasted']:,}", show_bytes(int(each["held_mean_bytes"])), f"{each['failed']:,}",
        )  # fmt: skip
    return table


def draw(found: dict[str, Replayed], title: str, path: Path, *, simulated: bool) -> None:
    from glowplug.bench.pictures.replay import draw as drawn

    with drawing(path):
        drawn(found, title, path, simulated=simulated)


def end(rows: list[dict[str, Any]]) -> None:
    """With an exit status of 1 where a policy answered nothing."""
    if any(row["wait_mean_s"] is None for row in rows):
        sys.exit(1)
