"""`distributed`: one inference over many workers: plans, channels and prices, the paper's runs and its
re-made schemes.

Each part is a file with `run(options, tell) -> (rows, claims, what could not be run)` and can be run alone.
What is simulated says so, with its delay model: AWS's delays cannot be measured here, so they are swept.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.distributed.options import PARTS, Options, Tell
from glowplug.bench.distributed.plot import draw
from glowplug.bench.result import Claim, Result, print_claims, print_rows

__all__ = ["Options", "plot", "report", "run"]

COLUMNS = {
    "formula": ("channel", "neurons", "workers", "usd", "predicted_usd"),
    "kernel": (
        "neurons", "layers", "samples", "system", "total_s", "edges_per_s", "record_edges_per_s", "equal",
    ),
    "schemes": (
        "neurons", "workers", "delay_model", "slowdown", "system", "channel", "total_s", "usd", "bytes_sent",
        "rows_sent", "calls", "predicted_s", "predicted_usd",
    ),
    "sizes": ("neurons", "workers", "channel", "rows_sent", "bytes_sent", "published_bytes"),
    "pipeline": ("neurons", "channel", "delay_model", "total_s", "predicted_s", "usd", "of_ceiling"),
    "choice": (
        "neurons", "at_most_workers", "objective", "plan", "channel", "workers", "memory_mib", "total_s",
        "predicted_s", "usd", "predicted_usd", "right", "best",
    ),
    "live": (
        "system", "plan", "channel", "layers", "workers", "total_s", "worked_s", "overhead_s", "usd",
        "bytes_sent", "rows_sent", "equal",
    ),
    "faults": (
        "plan", "channel", "layers", "runs", "total_s", "clean_s", "recovery", "restarts", "went_back",
        "damaged", "sent_again", "equal",
    ),
    "capped": (
        "plan", "neurons", "layers", "samples", "workers", "memory_bytes", "refused", "needed_bytes",
        "peak_bytes", "total_s", "worked_s", "usd", "enforced_by", "equal",
    ),
    "gang": ("plan", "workers", "at_a_time", "rate", "equal"),
    "transformer": (
        "plan", "model_bytes", "workers", "memory_bytes", "peak_bytes", "cold_s", "total_s", "equal",
    ),
}  # fmt: skip
BESIDE_A_SERVER = (
    "part", "system", "plan", "channel", "neurons", "workers", "delay_model", "usd", "server",
    "break_even_per_hour",
)  # fmt: skip


def run(options: Options, tell: Tell = lambda _: None) -> Result:
    """Runs the parts that `options` names, in their order."""
    options = options.resolved()
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    missing: list[str] = []
    for part in PARTS:
        if part in options.parts:
            found, promised, lacking = import_module(f"glowplug.bench.distributed.{part}").run(options, tell)
            rows += found
            claims += promised
            missing += lacking
    missing += [f"part {part}: not asked for" for part in PARTS if part not in options.parts]
    settings = msgspec.to_builtins(options)
    return Result(experiment="distributed", settings=settings, rows=rows, claims=claims, missing=missing)


def report(result: Result, console: Console) -> None:
    """A table for each part, one of what a query costs beside a server, and the claims."""
    for part, columns in COLUMNS.items():
        rows = [row for row in result.rows if row["part"] == part]
        if rows:
            print_rows(console, part, rows, columns)
    paid = [row for row in result.rows if row.get("break_even_per_hour") is not None]
    if paid:
        title = (
            f"queries an hour from which an always-on server costs less, prices of {paid[0]['prices_as_of']}"
        )
        print_rows(console, title, paid, BESIDE_A_SERVER)
    print_claims(console, result)


def plot(result: Result, path: Path) -> None:
    """Dollars by workers, ours and theirs. Raises ImportError where matplotlib is missing."""
    draw(result, path)
