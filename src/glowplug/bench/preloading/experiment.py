"""Replays of a recorded hour under equal memory: pre-warming and pre-loading as published, and ours.

Simulated: the controller and its policies are the live ones, moves take what profiles say
(sim/footprints.py). Parts: `table` re-makes the published table; `mix` is four hours of hot, once-a-minute
and rare functions; `hour` the recorded hour as it is; both beside a policy that knows the trace; `jitter` the
mix with timers off by up to 20 s; `cpu` the mix with ladder held to shares of a core; `zygote` the mix on
zygotes beside processes; `nodes` tyche and instainfer on 4 and 16 nodes, with one router for all of them and
with nodes that know nothing of each other; `wide` the mix on 16 and 64 nodes of the same memory in all;
`devices` the hour on 16 virtual GPUs over 4 and 16 nodes; `live` eight functions on this machine under three
policies, beside what the simulator says of them; `lent` how soon memory is back on it that was lent.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.kept_runs import KeptRuns
from glowplug.bench.known_names import check_names
from glowplug.bench.preloading import claims, live_rows, owners
from glowplug.bench.preloading import live as live_part
from glowplug.bench.preloading import table as table_part
from glowplug.bench.preloading.cells import (
    APART,
    AT_CPU,
    CLAIRVOYANT,
    FIXED_RIVALS,
    LADDER,
    LEAST_NODE_BYTES,
    TABLE,
    TABLE_KEPT,
    Cell,
    node_bytes,
    on_nodes,
    run_cell,
)
from glowplug.bench.preloading.devices import NODES as DEVICE_NODES
from glowplug.bench.preloading.devices import SYSTEMS as DEVICE_SYSTEMS
from glowplug.bench.preloading.devices import DeviceCell, run_device_cell
from glowplug.bench.preloading.live import LiveOptions
from glowplug.bench.preloading.owners import OwnersOptions
from glowplug.bench.preloading.plot import draw
from glowplug.bench.preloading.published import CLASSES
from glowplug.bench.recorded_hour import hour_path, no_hour
from glowplug.bench.result import Result, print_claims, print_rows
from glowplug.sim.replays import Cluster, System

PARTS = ("table", "nodes", "mix", "hour", "jitter", "cpu", "zygote", "wide", "devices", "live", "lent")
SHARES = (0.05, 0.1, 0.25, 0.5)
WIDE = tuple(Cluster(nodes, share) for nodes, shares in ((16, SHARES), (64, (0.25, 0.5))) for share in shares)
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
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is the folder of the recorded hour. `functions` of its 1,000 are taken, by the seed, and for the
    mix `mix_functions`; part `hour` runs with `hour_shares` of memory. In part `live` each policy has
    `live_rounds` turns of `live_minutes`. `resume` is a file that keeps finished cells, for a run that was
    broken off."""

    path: str = msgspec.field(default_factory=hour_path)
    parts: tuple[str, ...] = PARTS
    functions: int = 120
    mix_functions: int = 240
    hour_shares: tuple[float, ...] = SHARES
    live_minutes: float = 3.0
    live_rounds: int = 1
    repeats: int = 3
    seed: int = 1
    resume: str = ""
    quick: bool = False

    def __post_init__(self) -> None:
        check_names("preloading", self, parts=PARTS)


def run(options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Raises InvalidTrace for a recorded hour that cannot be read, RuntimeError where it is missing and a
    part that plays it was asked for by name; of all parts those are left out that do."""
    settings = msgspec.to_builtins(options)
    options, unplayed = _playable(options)
    live, lent = _live(options, tell), _lent(options, tell)
    by_part: dict[str, list[Cell]] = {}
    for cell in cells(options):
        by_part.setdefault(cell.part, []).append(cell)
    kept = Path(options.resume) if options.resume else None
    workers = 1 if options.quick else len(os.sched_getaffinity(0))
    with contextlib.closing(KeptRuns(run_cell, tell, workers=workers, kept=kept)) as runs:
        rows = [row for part, todo in by_part.items() for row in runs.rows(part, todo)]
    on_devices = list(device_cells(options))
    with contextlib.closing(KeptRuns(run_device_cell, tell, workers=workers, kept=kept)) as device_runs:
        rows += device_runs.rows("devices", on_devices)
    promised = claims.claims(rows) + (live_rows.claims(live) if live else [])
    promised += owners.claims(lent) if lent else []
    return Result(
        experiment="preloading",
        settings=settings,
        rows=[*rows, *live, *lent],
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
                for system in (*TABLE, *TABLE_KEPT):
                    cluster = Cluster(memory_share=2.0)
                    yield Cell("table", system, cluster, hour, 29, seed, trace_class)
        if "nodes" in options.parts:
            for nodes in (4, 16):
                short, ample = Cluster(nodes, memory_share=0.5), Cluster(nodes, memory_share=2.0)
                for system, router in on_nodes(FIXED_RIVALS[0]):
                    yield Cell("nodes", system, short, hour, options.functions, seed, router=router)
                for system, router in on_nodes(FIXED_RIVALS[2], APART):
                    yield Cell("nodes", system, ample, hour, 29, seed, "normal", router)
        for part, workload, functions, shares in (
            ("mix", mix, options.mix_functions, SHARES),
            ("hour", hour, options.functions, options.hour_shares),
            ("jitter", f"{mix},jitter_s=20", options.mix_functions, (0.1,)),
        ):
            if part in options.parts:
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
                there = (_on_zygotes(system) for system in (*FIXED_RIVALS, LADDER) if not system.displaces)
                for system in (FIXED_RIVALS[0], LADDER, *there):
                    yield Cell(
                        "zygote", system, Cluster(memory_share=share), mix, options.mix_functions, seed
                    )

        if "wide" in options.parts:
            for cluster in WIDE:
                if node_bytes(cluster, options.mix_functions) >= LEAST_NODE_BYTES:
                    for system in (*FIXED_RIVALS, LADDER):
                        yield Cell("wide", system, cluster, mix, options.mix_functions, seed)


def device_cells(options: Options) -> Iterator[DeviceCell]:
    if "devices" not in options.parts or options.quick:
        return
    hour = f"azure2019:{options.path}"
    for seed in range(options.seed, options.seed + options.repeats):
        for nodes in DEVICE_NODES:
            for system, eviction in DEVICE_SYSTEMS:
                yield DeviceCell(system, eviction, nodes, hour, options.mix_functions, seed)


def too_small(options: Options) -> list[str]:
    """A line for each cell of `wide` that is left out."""
    return [
        f"mix, {each.nodes} nodes, {each.memory_share:.0%} of memory: nodes of "
        f"{node_bytes(each, options.mix_functions) / 1e9:.1f} GB, less than {LEAST_NODE_BYTES / 1e9:.0f}"
        for each in WIDE
        if "wide" in options.parts and node_bytes(each, options.mix_functions) < LEAST_NODE_BYTES
    ]


def _on_zygotes(system: System) -> System:
    """There a node's free memory is the one sandbox, which has no owner that could yield."""
    return msgspec.structs.replace(system, substrate="zygote")


def report(result: Result, console: Console) -> None:
    rows = result.rows
    for part in dict.fromkeys(row["part"] for row in rows):
        columns = _COLUMNS.get(part, COLUMNS)
        words = part if part in REAL else f"{part} (simulated)"
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
