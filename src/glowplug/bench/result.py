"""What an experiment found, as JSON and as tables; the fields are the same for every experiment."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.table import Table

from glowplug._version import __version__
from glowplug.core.units import show_bytes, show_seconds

Sense = Literal["at most", "at least"]


class Claim(msgspec.Struct, frozen=True):
    """One number that the project promises: `value` is to be `sense` the `target`."""

    name: str
    value: float
    sense: Sense
    target: float
    holds: bool


class Result(msgspec.Struct, frozen=True):
    """`rows` have the fields of their experiment: times end in `_s`, sizes in `_bytes`, medians have `_min`
    and `_max` beside them. `missing` says in words what could not be run."""

    experiment: str
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    claims: list[Claim]
    missing: list[str]
    machine: dict[str, Any] = msgspec.field(default_factory=lambda: machine())
    version: str = __version__

    def write(self, path: Path) -> None:
        """Writes the JSON, making the folder where it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def read_result(path: Path) -> Result:
    """The result in a JSON file. Raises OSError, msgspec.ValidationError."""
    return msgspec.json.decode(path.read_bytes(), type=Result)


def claim(name: str, value: float, sense: Sense, target: float) -> Claim:
    return Claim(name, value, sense, target, value <= target if sense == "at most" else value >= target)


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """`{name, name_min, name_max}`: the median and the ends of `values`."""
    return {name: statistics.median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


LOAD_BEFORE = os.getloadavg()[0]
"""Of this process's first moments: the load at a run's end is its own."""


def machine() -> dict[str, Any]:
    """This machine in the words that explain a number: processor, cores, memory, kernel, versions, load."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "load_before": LOAD_BEFORE,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def print_rows(console: Console, title: str, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """A table of `columns` of the rows; times with a `_min` beside them are shown with their spread."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.removesuffix("_s").removesuffix("_bytes"), justify="right")
    for row in rows:
        table.add_row(*(_cell(row, column) for column in columns))
    console.print(table)


def print_claims(console: Console, result: Result) -> None:
    table = Table(title="claims", title_justify="left")
    for column in ("claim", "value", "target", "holds"):
        table.add_column(column, justify="left" if column == "claim" else "right")
    for one in result.claims:
        table.add_row(
            one.name,
            show_value(one.name, one.value),
            f"{one.sense} {show_value(one.name, one.target)}",
            "[green]yes" if one.holds else "[red]no",
        )
    console.print(table)
    for what in result.missing:
        console.print(f"[yellow]not run:[/] {what}")


def show_value(name: str, value: Any) -> str:
    """A value in the unit that its name ends in."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if name.endswith("_s"):
        return show_seconds(value) if value >= 0 else f"-{show_seconds(-value)}"
    if name.endswith("_bytes"):
        return show_bytes(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _cell(row: dict[str, Any], column: str) -> str:
    shown = show_value(column, row.get(column))
    if f"{column}_min" not in row or column.endswith("_bytes"):
        return shown
    low, high = (show_value(column, row[f"{column}_{end}"]) for end in ("min", "max"))
    if low == high:
        return shown
    return f"{shown} [dim]({low} .. {high})[/]"
