"""Replays of a recorded hour under equal memory: pre-warming and pre-loading as published, and ours.

Simulated: the controller and its policies are the live ones, moves take what profiles say
(sim/footprints.py). Parts: `table` re-makes the published table; `mix` is four hours of hot, once-a-minute
and rare functions; `hour` the recorded hour as it is; both beside a policy that knows the trace; `jitter` the
mix with timers off by up to 20 s; `cpu` the mix with ladder held to shares of a core; `zygote` the mix on
zygotes beside processes; `nodes` tyche and instainfer on 4 and 16 nodes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from rich.console import Console

from glowplug.bench import preloading_claims
from glowplug.bench.kept_runs import KeptRuns
from glowplug.bench.preloading_cells import (
    AT_CPU,
    CLAIRVOYANT,
    FIXED_RIVALS,
    LADDER,
    TABLE,
    Cell,
    as_published,
    run_cell,
)
from glowplug.bench.preloading_plot import draw
from glowplug.bench.published_preloading import CLASSES, PUBLISHED
from glowplug.bench.result import Result, print_claims, print_rows
from glowplug.sim.replays import Cluster, System

PARTS = ("table", "nodes", "mix", "hour", "jitter", "cpu", "zygote")
SHARES = (0.05, 0.1, 0.25, 0.5)
COLUMNS = (
    "system", "trace_class", "nodes", "memory_share", "seed", "mean_s", "p99_s", "loading_mean_s",
    "preload_rate", "waited_share", "cpu_s", "loading_s", "wasted_byte_s", "overloaded",
)  # fmt: skip


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is the folder of the recorded hour. `functions` of its 1,000 are taken, by the seed, and for the
    mix `mix_functions`. `resume` is a file that keeps finished cells, for a run that was broken off."""

    path: str = "../shared/traces/azure2019_1h_1000fn"
    parts: tuple[str, ...] = PARTS
    functions: int = 120
    mix_functions: int = 240
    repeats: int = 3
    seed: int = 1
    resume: str = ""
    quick: bool = False


def run(options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Raises InvalidTrace for a recorded hour that cannot be read, ValueError for an unknown part."""
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        raise ValueError(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    settings = msgspec.to_builtins(options)
    if not Path(options.path).is_dir():
        missing = [f"the recorded hour is not at {options.path}: give its folder with --set path=FOLDER"]
        return Result("preloading", settings, rows=[], claims=[], missing=missing)
    by_part: dict[str, list[Cell]] = {}
    for cell in cells(options):
        by_part.setdefault(cell.part, []).append(cell)
    kept = Path(options.resume) if options.resume else None
    runs = KeptRuns(run_cell, tell, workers=1 if options.quick else len(os.sched_getaffinity(0)), kept=kept)
    with contextlib.closing(runs):
        rows = [row for part, todo in by_part.items() for row in runs.rows(part, todo)]
    return Result(
        experiment="preloading",
        settings=settings,
        rows=rows,
        claims=[] if options.quick else preloading_claims.claims(rows),
        missing=[
            "GPU memory: simulated devices are in experiment scheduling",
            "the recorded hour alone: a longer trace would be needed for days and weeks",
        ],
    )


def cells(options: Options) -> Iterator[Cell]:
    """Every cell of the parts that were asked for, those of one trace beside each other."""
    if options.quick:
        hour = f"azure2019:{options.path},minutes=6"
        for system in (FIXED_RIVALS[0], LADDER):
            yield Cell("hour", system, Cluster(memory_share=0.25), hour, 40, options.seed)
        return
    hour, mix = f"azure2019:{options.path}", f"mix:{options.path}"
    for seed in range(options.seed, options.seed + options.repeats):
        if "table" in options.parts:
            for trace_class in CLASSES:
                for system in TABLE:
                    cluster = Cluster(memory_share=2.0)
                    yield Cell("table", system, cluster, hour, 29, seed, trace_class)
        if "nodes" in options.parts:
            for nodes in (4, 16):
                for preload in ("instainfer", "tyche"):
                    system = as_published(f"{preload} + fixed", "fixed", "lru", preload)
                    cluster = Cluster(nodes=nodes, memory_share=0.5)
                    yield Cell("nodes", system, cluster, hour, options.functions, seed)
        for part, workload, functions in (
            ("mix", mix, options.mix_functions),
            ("hour", hour, options.functions),
            ("jitter", f"{mix},jitter_s=20", options.mix_functions),
        ):
            if part in options.parts:
                shares = (0.1,) if part == "jitter" else SHARES
                for share in shares:
                    bound = () if part == "jitter" else (CLAIRVOYANT,)
                    for system in (*FIXED_RIVALS, LADDER, *bound):
                        yield Cell(part, system, Cluster(memory_share=share), workload, functions, seed)
        if "cpu" in options.parts:
            for share in (0.1, 0.25):
                for system in (*FIXED_RIVALS, LADDER, *AT_CPU):
                    yield Cell("cpu", system, Cluster(memory_share=share), mix, options.mix_functions, seed)
        if "zygote" in options.parts:
            for share in (0.05, 0.1):
                for system in (FIXED_RIVALS[0], LADDER, *map(_on_zygotes, (*FIXED_RIVALS, LADDER))):
                    yield Cell(
                        "zygote", system, Cluster(memory_share=share), mix, options.mix_functions, seed
                    )


def _on_zygotes(system: System) -> System:
    return msgspec.structs.replace(system, substrate="zygote")


def report(result: Result, console: Console) -> None:
    rows = result.rows
    for part in dict.fromkeys(row["part"] for row in rows):
        print_rows(console, f"{part} (simulated)", [row for row in rows if row["part"] == part], COLUMNS)
    if table := preloading_claims.beside_published(rows, PUBLISHED):
        print_rows(console, "beside the published table", table, tuple(table[0]))
    print_claims(console, result)


def plot(result: Result, path: Path) -> None:
    """Mean loading latency over memory, by system. Raises ImportError where matplotlib is missing."""
    draw(result.rows, path)
