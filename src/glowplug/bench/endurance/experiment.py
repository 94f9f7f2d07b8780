"""`endurance`: the long tail, overload, priority, kills and a soak, each against the same load unstressed.

Each part is a file with `run(options, folder, tell) -> (rows, claims)` and can be run alone. Every answer is
checked in all of them.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.endurance.options import PARTS, Options, Tell
from glowplug.bench.endurance.plot import draw
from glowplug.bench.result import Claim, Result, print_claims, print_rows

__all__ = ["Options", "plot", "report", "run"]

COLUMNS = (
    "scenario", "requests", "duration_s", "p50_s", "p99_s", "wrong", "lost", "memory_bytes_start",
    "memory_bytes_end",
)  # fmt: skip


def run(options: Options, tell: Tell = lambda _: None) -> Result:
    """Runs the parts that `options` names, in their order. Raises RuntimeError when one cannot be run."""
    options = options.resolved()
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for part in PARTS:
        if part not in options.parts:
            continue
        with tempfile.TemporaryDirectory(prefix="glowplug-endurance-") as folder:
            Path(folder).chmod(0o755)  # functions run as users of their own
            found, promised = import_module(f"glowplug.bench.endurance.{part}").run(
                options, Path(folder), tell
            )
        rows += found
        claims += promised
    missing = [f"part {part}: not asked for" for part in PARTS if part not in options.parts]
    settings = msgspec.to_builtins(options)
    return Result(experiment="endurance", settings=settings, rows=rows, claims=claims, missing=missing)


def report(result: Result, console: Console) -> None:
    """The rows, what went wrong in each by kind, and the claims."""
    print_rows(console, "endurance", result.rows, COLUMNS)
    for row in result.rows:
        if row["errors_by_kind"]:
            kinds = ", ".join(f"{kind} {many}" for kind, many in sorted(row["errors_by_kind"].items()))
            console.print(f"{row['scenario']}: {kinds}", highlight=False)
    print_claims(console, result)


def plot(result: Result, path: Path) -> None:
    """A panel for each part that has something to draw. Raises ImportError where matplotlib is missing."""
    draw(result, path)
