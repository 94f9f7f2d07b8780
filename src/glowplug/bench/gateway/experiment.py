"""`gateway`: warm requests through our server and through others, and from zero where the other can.

Each cell is a server alone on the machine: started, asked until it answers, its answer checked, warmed up,
loaded by wrk over kept connections, checked again, ended with all that it started. Systems alternate within
each repeat. Every server has one process for the work and as many compute threads as the others; wrk runs on
the same cores. Floors are no products: they show what the libraries below can do.

From zero, functions may use every core. What the controller alone costs is measured in this process.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.gateway import claims, wrk
from glowplug.bench.gateway import several as several_part
from glowplug.bench.gateway.asks import TOLERANCE, WORKLOADS, ours, right_answer
from glowplug.bench.gateway.cells import FAILURES, Alive, Cell, Measured, measure, start_ours
from glowplug.bench.gateway.claims import BATCHED, FEW, MANY, OURS
from glowplug.bench.gateway.control import decision_rows, memory_row
from glowplug.bench.gateway.plot import draw_load, panels
from glowplug.bench.gateway.zero import zero_rows
from glowplug.bench.known_names import check_names
from glowplug.bench.models import MODELS
from glowplug.bench.peers.serving import CONTENDERS, lacks, running, versions
from glowplug.bench.result import Result, print_claims, print_rows, spread

LOAD_COLUMNS = ("system", "rate", "p50_s", "p99_s", "failed", "equal", "way")
ZERO_COLUMNS = ("function", "system", "standing", "latency_s", "visits", "equal")
CONTROL_COLUMNS = ("functions", "standing", "decision_s", "p99_s", "memory_bytes")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`systems` by name; `threads` are compute threads under load, of every server's one working process;
    `several` are numbers of gateway processes to compare, where there are cores for them;
    `quick` is one workload, once, with no more than one peer, for a test that the command lives.
    """

    systems: tuple[str, ...] = (OURS, *CONTENDERS)
    workloads: tuple[str, ...] = WORKLOADS
    batching: bool = True
    from_zero: bool = True
    repeats: int = 5
    warm_s: int = 1
    duration_s: int = 5
    threads: int = 1
    functions: int = 1000
    decisions: int = 5000
    several: tuple[int, ...] = ()
    several_workers: int = 8
    quick: bool = False

    def __post_init__(self) -> None:
        check_names("gateway", self, systems=(OURS, *CONTENDERS), workloads=WORKLOADS)

    def resolved(self) -> Options:
        """Quick settings stand for all the others."""
        if not self.quick:
            return self
        peers = [name for name in self.systems if name in CONTENDERS and lacks(CONTENDERS[name]) is None]
        kinds = {CONTENDERS[name].kind: name for name in reversed(peers)}
        return msgspec.structs.replace(
            self, systems=(OURS, *kinds.values()), workloads=("echo",), batching=False, from_zero=False,
            repeats=1, duration_s=1, decisions=1000,
        )  # fmt: skip


def run(options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Measures; `tell` hears of progress. A peer that fails is told in `missing`.

    Raises RuntimeError where wrk is missing, and one of FAILURES when our own server fails.
    """
    options = options.resolved()
    if wrk.installed() is None:
        raise RuntimeError("wrk is not installed: run `make peers`, or apt-get install wrk")
    tell("decisions of the controller")
    rows = [*decision_rows(options.functions, options.decisions), memory_row(options.functions)]
    visits, missing = cells(options)
    rights = {name: right_answer(name) for name in dict.fromkeys(cell.workload for cell in visits)}
    found: dict[Cell, list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="glowplug-gateway-") as folder:
        for repeat in range(options.repeats):
            for number, cell in enumerate(visits, 1):
                tell(f"repeat {repeat + 1}, {number} of {len(visits)}: {cell.system} {cell.workload}")
                state_dir = Path(folder) / f"{repeat}-{number}"
                try:
                    found.setdefault(cell, []).append(
                        _measure(cell, rights[cell.workload], options, state_dir)
                    )
                except FAILURES as error:
                    if cell.system not in CONTENDERS:
                        raise
                    missing.append(f"{cell.system} {cell.workload}, repeat {repeat + 1}: {error}")
    rows += [_row(cell, samples) for cell, samples in found.items() if samples]
    if options.from_zero:
        zero, lacking = zero_rows(options.repeats, len(os.sched_getaffinity(0)), tell)
        rows += zero
        missing += lacking
    if options.several:
        times = options.repeats, options.warm_s, options.duration_s
        rows += several_part.rows(options.several, options.several_workers, *times, tell)
    return Result(
        experiment="gateway",
        settings={
            **msgspec.to_builtins(options), "tolerance": TOLERANCE,
            "versions": {name: versions(one) for name, one in CONTENDERS.items() if lacks(one) is None},
            "tuned": {name: one.tuned for name, one in CONTENDERS.items() if one.tuned},
        },
        rows=rows,
        claims=claims.answers(rows) if options.quick else claims.claims(rows),
        missing=missing,
    )  # fmt: skip


def report(result: Result, console: Console) -> None:
    """Under load, from zero, the controller alone, and the claims."""
    rows = result.rows
    for title, found in panels(of_part(rows, "load")).items():
        print_rows(console, f"{title}: median (min .. max)", found, LOAD_COLUMNS)
    if zero := of_part(rows, "zero"):
        print_rows(console, "from zero", zero, ZERO_COLUMNS)
    if several := of_part(rows, "several"):
        print_rows(console, "several gateways", several, several_part.COLUMNS)
    print_rows(console, "the controller alone", of_part(rows, "control"), CONTROL_COLUMNS)
    print_claims(console, result)


def plot(result: Result, path: Path) -> None:
    """Requests a second and p99 by workload. Raises ImportError where matplotlib is missing."""
    draw_load(of_part(result.rows, "load"), path)


def of_part(rows: Sequence[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    return [row for row in rows if row.get("part") == part]


def cells(options: Options) -> tuple[list[Cell], list[str]]:
    """(one repeat, what cannot run): every workload in turn, and in it every system in turn."""
    reasons = {name: lacks(CONTENDERS[name]) for name in options.systems if name in CONTENDERS}
    missing = [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]
    workloads = [name for name in options.workloads if name not in MODELS or not MODELS[name].lacks]
    missing += [
        f"{name}: install {', '.join(MODELS[name].lacks)}"
        for name in options.workloads
        if name not in workloads
    ]
    visits = [
        Cell(name, workload, FEW)
        for workload in workloads
        for name in options.systems
        if name == OURS or (reasons[name] is None and workload in CONTENDERS[name].workloads)
    ]
    if options.batching and "minilm" in workloads and OURS in options.systems:
        visits += [Cell(OURS, "minilm", MANY), Cell(BATCHED, "minilm", MANY)]
    return visits, missing


def _measure(cell: Cell, right: Any, options: Options, state_dir: Path) -> Measured:
    start: AbstractContextManager[Alive]
    contender = CONTENDERS.get(cell.system)
    if contender is not None:
        start, ask = running(contender, cell.workload, options.threads), contender.ask(cell.workload)
    else:
        batched = cell.system == BATCHED
        start = start_ours("batched" if batched else cell.workload, options.threads, state_dir)
        ask = ours(cell.workload, batched=batched)
    return measure(
        start, ask, right, connections=cell.connections, warm_s=options.warm_s, duration_s=options.duration_s
    )


def _row(cell: Cell, found: list[Measured]) -> dict[str, Any]:
    contender = CONTENDERS.get(cell.system)
    off = max(each.difference for each in found)
    loads = [each.load for each in found]
    why: dict[str, int] = {}
    for load in loads:
        for kind, count in load.why_failed.items():
            why[kind] = why.get(kind, 0) + count
    return {
        "part": "load", **msgspec.to_builtins(cell), "kind": contender.kind if contender else "ours",
        "process": contender.process if contender else "a worker behind the gateway",
        "way": (contender.ask if contender else ours)(cell.workload).way, "repeats": len(found),
        **spread("rate", [load.rate for load in loads]), **spread("p50_s", [load.p50_s for load in loads]),
        **spread("p99_s", [load.p99_s for load in loads]), "max_s": max(load.max_s for load in loads),
        "failed": sum(load.failed for load in loads), "why_failed": why,
        "ready_s": statistics.median(each.ready_s for each in found),
        "difference": off, "equal": off <= TOLERANCE,
    }  # fmt: skip
