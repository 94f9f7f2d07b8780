"""`scheduling`: requests over devices that cache models, our scheduler beside the published ones, simulated.

The controller is the one that runs live; devices, loads and runs are simulated with published profiles, but
in the part `live`. Each part is a file and can be run alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.kept_runs import KeptRuns, Row
from glowplug.bench.recorded_hour import no_hour
from glowplug.bench.result import Claim, Result, print_claims, print_rows
from glowplug.bench.scheduling import (
    against,
    batches,
    contexts,
    decisions,
    fairness,
    grid,
    live,
    loader,
    picture,
    rates,
    reproduction,
)
from glowplug.bench.scheduling.cells import measure
from glowplug.bench.scheduling.live import LiveOptions
from glowplug.bench.scheduling.options import PARTS, Options, Tell

__all__ = ["Options", "plot", "report", "run"]

Found = tuple[list[Row], list[Claim], list[str]]


def run(options: Options, tell: Tell = lambda _: None) -> Result:
    """Runs the parts that `options` names. Real time is measured first, while nothing else runs. Raises
    RuntimeError where there is no recorded hour at a path that was given."""
    options = options.resolved()
    no_hour(options.traces, "traces")
    kept = Path(options.resume) if options.resume else None
    runs = KeptRuns(measure, tell, workers=options.workers, kept=kept)
    rows: list[Row] = []
    claims: list[Claim] = []
    missing = [f"part {part}: not asked for" for part in PARTS if part not in options.parts]
    settings = msgspec.to_builtins(options) | {"resume": ""}  # a path of this machine
    parts: dict[str, Callable[[], Found]] = {
        "decisions": lambda: decisions.run(options, tell),
        "batches": lambda: batches.run(options, tell),
        "live": lambda: _live(options, tell),
        "reproduction": lambda: reproduction.run(options, runs.rows),
        "against": lambda: against.run(options, runs.rows, batches.ratio(rows)),
        "rates": lambda: rates.run(options, runs.rows, batches.ratio(rows)),
        "grid": lambda: grid.run(options, runs.rows),
        "loader": lambda: loader.run(options, runs.rows),
        "contexts": lambda: contexts.run(options, runs.rows),
        "fairness": lambda: fairness.run(options, runs.rows),
    }
    try:
        for name, part in parts.items():
            if name in options.parts:
                found, promised, lacking = part()
                rows += found
                claims += promised
                missing += lacking
    finally:
        runs.close()
    if "picture" in options.parts:
        settings["picture"] = msgspec.to_builtins(picture.observe(options, tell))
    return Result(
        experiment="scheduling", settings=settings, rows=rows, claims=[] if options.quick else claims,
        missing=missing,
    )  # fmt: skip


def _live(options: Options, tell: Tell) -> Found:
    """Real processes on virtual devices. Latencies one by one stay out of the rows: they are thousands."""
    if options.quick:
        return [], [], ["part live: it takes minutes, and is not in the small version"]
    given = LiveOptions(minutes=options.live_minutes, rounds=options.live_rounds, trace=options.traces)
    with tempfile.TemporaryDirectory(prefix="glowplug-scheduling-") as folder:
        Path(folder).chmod(0o755)  # functions run as users of their own
        found = live.rows(given, Path(folder), tell)
    promised = live.claims(found)
    one_by_one = ("seconds", "simulated_seconds")
    rows = [
        {
            "part": "live", "system": row["scheduling"], "policy": row["scheduling"], "simulated": None,
            **{name: value for name, value in row.items() if name not in one_by_one},
        }
        for row in found
    ]  # fmt: skip
    return rows, promised, live.missing(given)


def _of(part: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [row for row in rows if row["part"] == part]


_TABLES: tuple[tuple[str, str, Callable[[list[Row]], list[Row]], tuple[str, ...]], ...] = (
    (
        "reproduction", "reproduction: less than with lb, and what was published (recalled)",
        reproduction.table,
        (
            "calls", "models", "system", "load", "with_loads", "mean_s", "p99_s", "times_lb", "less_mean",
            "paper_mean", "less_misses", "paper_misses", "misses", "false", "copies",
        ),
    ),
    (
        "against", "today's schedulers: Zipf 0.9, same profiles; x is in times ours without batches",
        against.table,
        ("models", "rate", "system", "eviction", *against.FIELDS, "mean_x", "p99_x"),
    ),
    (
        "rates", "highest rate with p99 under 10 s",
        _of("rates"),
        ("working_set", "policy", "eviction", "batching", "highest_rate_per_min", "duration_s", "seeds"),
    ),
    (
        "grid", "grid: ours / lalb-o3, paired seeds, 95 % intervals", grid.table,
        (
            "rate", "models", "zipf", "load", "ours_mean_s", "rival_mean_s", "ratio", "low", "high",
            "p99_ratio", "p99_low", "p99_high", "seeds",
        ),
    ),
    (
        "loader", "loaders: the paper's, and ours by the bandwidth of a copy", loader.table,
        ("models", "rate", "system", "loader", *loader.FIELDS),
    ),
    (
        "contexts", "a context for each model, or one a device that all share", contexts.table,
        ("models", "rate", "system", "contexts", *contexts.FIELDS, "mean_x", "p99_x"),
    ),
    (
        "fairness", "one function offers five times its share: the others, before and then",
        fairness.table,
        (
            "greedy", "system", "load", "load_then", "others_mean_s", "mean_then_s", "others_p99_s",
            "p99_then_s", "p99_rise",
        ),
    ),
    (
        "decisions", "what a decision costs",
        _of("decisions"),
        (
            "devices", "functions", "policy", "decision_p50_s", "decision_p99_s", "requests_per_wall_second",
            "deploy_s", "request_s", "memory_per_function_bytes",
        ),
    ),
    ("live", "live, each run beside its twin in virtual time", _of("live"), live.COLUMNS),
    (
        "batches", "batches, measured on this machine's cores",
        _of("batches"),
        ("model", "batch", "run_s", "runs_of_one", "gain"),
    ),
)  # fmt: skip


def report(result: Result, console: Console) -> None:
    """A table for each part that was run, break-even, and the claims."""
    ran = {row["part"] for row in result.rows}
    for part, title, table, columns in _TABLES:
        if part in ran:
            print_rows(console, title, table(result.rows), columns)
    for row in result.rows:
        if "break_even_with" in row:
            console.print(_break_even(row), highlight=False)
    print_claims(console, result)


def _break_even(row: dict[str, Any]) -> str:
    found = row["break_even_bytes_s"]
    reached = "no bandwidth reaches" if found is None else f"{found / 1e9:.2g} GB/s reach"
    return (
        f"{row['working_set']} models at {row['rate_per_min']:g} a minute: with our loader {row['policy']} "
        f"at {reached} {row['break_even_with']} ({row['target_mean_s']:.2f} s)"
    )


def plot(result: Result, path: Path) -> None:
    """Latencies by system, what each device did and which models lay there. Raises ImportError where
    matplotlib is missing, ValueError when the part `picture` was not run."""
    if "picture" not in result.settings:
        raise ValueError("nothing to draw: run the part `picture` too")
    picture.draw(msgspec.convert(result.settings["picture"], picture.Picture), path)
