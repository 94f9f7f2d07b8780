"""Replays of a recorded hour under equal memory: pre-warming and pre-loading as published, and ours.

Simulated: the controller and its policies are the live ones, moves take what profiles say
(sim/footprints.py). Parts: `table` re-makes the published table; `mix` is four hours of hot, once-a-minute
and rare functions; `hour` the recorded hour as it is; both beside a policy that knows the trace; `jitter` the
mix with timers off by up to 20 s; `plain` both without helpers for anyone, and as published; `cpu` the mix
with ladder held to shares of a core; `zygote` the mix on zygotes beside processes, `shared` where functions
of one model share its weights; `nodes` tyche and instainfer on 4 and 16 nodes, with one router for all of
them and with nodes that know nothing of each other; `wide` the mix on 8, 16 and 64 nodes of the same memory
in all; `devices` the hour on 16 virtual GPUs over 4 and 16 nodes; `live` eight functions on this machine
under three policies, beside what the simulator says of them; `lent` how soon memory is back on it that was
lent.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.kept_runs import KeptRuns
from glowplug.bench.preloading import claims, classes, live_rows, owners
from glowplug.bench.preloading import live as live_part
from glowplug.bench.preloading import table as table_part
from glowplug.bench.preloading.cells import Cell, run_cell
from glowplug.bench.preloading.devices import run_device_cell
from glowplug.bench.preloading.grid import cells, device_cells, too_small
from glowplug.bench.preloading.live import LiveOptions
from glowplug.bench.preloading.options import PARTS, Options
from glowplug.bench.preloading.owners import OwnersOptions
from glowplug.bench.preloading.plot import draw
from glowplug.bench.recorded_hour import no_hour
from glowplug.bench.result import Result, print_claims, print_rows

__all__ = ["Options", "plot", "report", "run"]

COLUMNS = (
    "system", "trace_class", "nodes", "memory_share", "seed", "mean_s", "p99_s", "loading_mean_s",
    "preload_rate", "kept_share", "waited_share", "cpu_s", "loading_s", "wasted_byte_s", "overloaded",
)  # fmt: skip
DEVICE_COLUMNS = (
    "system", "eviction", "nodes", "devices", "memory_share", "seed", "mean_s", "p99_s", "loading_mean_s",
    "on_device_share", "from_memory_share", "from_disk_share",
)  # fmt: skip
REAL = ("live", "lent")
"""Parts in real time, on this machine."""
RECORDED = tuple(part for part in PARTS if part != "lent")
"""Parts that play the recorded hour, or what is made of it."""
_COLUMNS = {
    "devices": DEVICE_COLUMNS,
    "live": live_rows.COLUMNS,
    "lent": owners.COLUMNS,
    "classes": classes.COLUMNS,
}


def run(options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Raises InvalidTrace for a recorded hour that cannot be read, RuntimeError where it is missing and a
    part that plays it was asked for by name; of all parts those are left out that do."""
    settings = msgspec.to_builtins(options) | {"resume": ""}  # a path of this machine
    options, unplayed = _playable(options)
    live, lent = _live(options, tell), _lent(options, tell)
    by_part: dict[str, list[Cell]] = {}
    for cell in cells(options):
        by_part.setdefault(cell.part, []).append(cell)
    kept = Path(options.resume) if options.resume else None
    workers = 1 if options.quick else options.processes or len(os.sched_getaffinity(0))
    with contextlib.closing(KeptRuns(run_cell, tell, workers=workers, kept=kept)) as runs:
        rows = [row for part, todo in by_part.items() for row in runs.rows(part, todo)]
    regularity = (
        [] if options.quick else list(classes.rows(cell for todo in by_part.values() for cell in todo))
    )
    on_devices = list(device_cells(options))
    with contextlib.closing(KeptRuns(run_device_cell, tell, workers=workers, kept=kept)) as device_runs:
        rows += device_runs.rows("devices", on_devices)
    promised = claims.claims(rows) + (live_rows.claims(live) if live else [])
    promised += owners.claims(lent) if lent else []
    return Result(
        experiment="preloading",
        settings=settings,
        rows=[*rows, *live, *lent, *regularity],
        claims=[] if options.quick else promised,
        missing=[
            *unplayed,
            *too_small(options),
            *(live_part.missing() if live else []),
            "the recorded hour alone: a longer trace would be needed for days and weeks",
        ],
    )


def _playable(options: Options) -> tuple[Options, list[str]]:
    """(the options with the parts that can be played here, what is left out in words)."""
    absent = no_hour(options.path, "path")
    left = tuple(part for part in options.parts if part not in RECORDED)
    if absent is None or (left == options.parts and not options.quick):
        return options, []
    if options.quick or options.parts != PARTS:
        raise RuntimeError(absent)
    return msgspec.structs.replace(options, parts=left), [f"parts {', '.join(RECORDED)}: {absent}"]


def _live(options: Options, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Before all else: real time is measured while nothing else runs."""
    if "live" not in options.parts or options.quick:
        return []
    with tempfile.TemporaryDirectory(prefix="glowplug-preloading-") as folder:
        Path(folder).chmod(0o755)  # functions run as users of their own
        return live_part.rows(_live_options(options), Path(folder), tell)


def _lent(options: Options, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Also while nothing else runs."""
    if "lent" not in options.parts or options.quick:
        return []
    with tempfile.TemporaryDirectory(prefix="glowplug-preloading-") as folder:
        Path(folder).chmod(0o755)
        return owners.rows(OwnersOptions(seed=options.seed), Path(folder), tell)


def _live_options(options: Options) -> LiveOptions:
    return LiveOptions(
        minutes=options.live_minutes, rounds=options.live_rounds, trace=options.path, seed=options.seed
    )


def report(result: Result, console: Console) -> None:
    rows = result.rows
    for part in dict.fromkeys(row["part"] for row in rows):
        columns = _COLUMNS.get(part, COLUMNS)
        words = part if part in (*REAL, "classes") else f"{part} (simulated)"
        print_rows(console, words, [row for row in rows if row["part"] == part], columns)
    rows = [row for row in rows if row["part"] == "table"]
    if table := table_part.beside_published(rows):
        print_rows(console, "beside the published table", table, tuple(table[0]))
    if table := table_part.by_definition(rows):
        print_rows(console, "pre-load rates, by what they count", table, tuple(table[0]))
    print_claims(console, result)


def plot(result: Result, path: Path) -> None:
    """Mean loading latency over memory, by system. Raises ImportError where matplotlib is missing."""
    draw(result.rows, path)
