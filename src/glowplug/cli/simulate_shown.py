"""What `glowplug simulate` shows: a table, an answer, a picture. All of it is simulated, and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from glowplug.cli.output import console, drawing
from glowplug.cli.refused import Reasons
from glowplug.core.units import show_seconds
from glowplug.sim.outcomes import latencies_s
from glowplug.sim.planned_faults import Strike
from glowplug.sim.simulation import SimResult
from glowplug.sim.sizing import Sizing
from glowplug.sim.workloads.trace import Trace

_SHOWN_S = 600.0
"""Of the timeline that is drawn."""


class Drawn(msgspec.Struct, frozen=True, eq=False):
    """A run that kept its log, and what happened to its devices."""

    result: SimResult
    struck: list[Strike]


def show(rows: Sequence[Mapping[str, Any]], trace: Trace) -> None:
    """Each row with its faults, in words, if there are any."""
    about = f"{trace.requests:,} requests to {trace.functions:,} models in {show_seconds(trace.span_s)}"
    lines = [f"simulated: {about}"]
    struck = [msgspec.convert(row["faults"], list[Strike]) for row in rows]
    same = all(each == struck[0] for each in struck)
    lines += [each.told for each in struck[0]] if same else []
    told = rows[0]["profile_error"]
    if told != 1.0:
        lines.append(f"the scheduler is told {told:g} times what loads and runs take")
    table = Table(title="\n".join(lines), title_justify="left")
    columns = ["policy", "devices", "load", "busy", "mean", "p50", "p99", "loads", "refused"]
    columns += [] if same else ["faults"]
    for column in columns:
        left = column in ("policy", "faults")
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    for row, happened in zip(rows, struck, strict=True):
        refused = sum(row["refused"].values())
        table.add_row(
            row["policy"], str(row["devices"]), f"{row['offered_load']:.0%}", f"{row['utilisation']:.0%}",
            *(_seconds(row[field]) for field in ("mean_s", "p50_s", "p99_s")),
            f"{row['load_ratio']:.1%}", f"{refused:,}" if refused else "-",
            *(["\n".join(each.told for each in happened)] if "faults" in columns else []),
        )  # fmt: skip
    console.print(table)


def answer_of(policy: str, found: Sizing, p99: str, memory: str, reasons: Reasons, alone_s: float) -> str:
    """`alone_s` is the p99 of the runs by themselves."""
    if found.devices is not None:
        words = f"{policy}: [bold]{found.devices} devices of {memory}[/] keep p99 at {p99} or less"
        outcome = found.tried[found.devices]
        return (
            f"{words}; {escape(reasons.tell(outcome.refused, outcome.requests))}"
            if outcome.refused
            else words
        )
    outcome = found.tried[found.most]
    p99_there = _seconds(outcome.p99_s)
    if outcome.refused:
        refused = escape(reasons.tell(outcome.refused, outcome.requests))
        why = f": with so many, {refused}. The p99 of the others is {p99_there}"
    else:
        why = f" for a p99 of {p99}: it is {p99_there} there, of runs alone {_seconds(alone_s)}"
    return f"{policy}: [red]{found.most} devices are not enough[/]{why}. More are not tried"


def draw_runs(runs: Mapping[str, Drawn], workload: str, span_s: float, path: Path) -> None:
    """Everybody's latencies, and what the devices did with the first."""
    from glowplug.bench.scheduling.picture import Picture, draw, evenly
    from glowplug.sim.timeline import intervals

    until_s = min(_SHOWN_S, span_s)
    policy, first = next(iter(runs.items()))
    latencies = {name: evenly(latencies_s(each.result.answers)) for name, each in runs.items()}
    shown = intervals(first.result, until_s)
    with drawing(path):
        draw(Picture(latencies, shown, f"{workload}: {policy}", first.struck), path)


def _seconds(value: float) -> str:
    return "-" if value != value else show_seconds(value)
