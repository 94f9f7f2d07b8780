"""`glowplug workload`: what calls a workload has, before anything is run with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from glowplug.cli.functions import Json, Seed
from glowplug.cli.output import console, drawing, print_json
from glowplug.core.units import show_seconds
from glowplug.sim.workloads import Derived
from glowplug.sim.workloads.gaps import Classes
from glowplug.sim.workloads.registry import KINDS, parse, settings_of, workload_class
from glowplug.sim.workloads.summary import Summary, summarise


def workload(name: str = "list", *, seed: Seed = 0, json: Json = False, plot: Path | None = None) -> None:
    """Describe a workload: functions, calls, rate, how regular they are, gaps. `list` shows what there is.

    For example:

        glowplug workload
        glowplug workload zipf:functions=35,s=0.9,rate_per_min=325,minutes=6
        glowplug workload bursty:functions=100,minutes=60 --seed 7 --plot bursty.png
        glowplug workload azure2019:traces/azure2019_1h_1000fn,top=35,rate_per_min=325,minutes=6
        glowplug workload mix:traces/azure2019_1h_1000fn --json
        glowplug workload access_log:glowplug.jsonl    # what serve --access-log wrote
        glowplug workload events:calls.csv    # with columns time_s,function and perhaps duration_s

    Parameters
    ----------
    name
        KIND or KIND:SETTING,SETTING,... A recorded trace's path stands first.
    seed
        For what is drawn; a `seed=` in the name goes before it.
    plot
        Draw calls over time, popularity, variation and gaps into this file.
    """
    if name == "list":
        _list(json)
        return
    made, own_seed = parse(name)
    seed = seed if own_seed is None else own_seed
    trace = made.trace(seed)
    found = summarise(trace, made.source(seed) if isinstance(made, Derived) else None)
    if plot is not None:
        from glowplug.bench.pictures.workload import draw_workload

        with drawing(plot):
            draw_workload(trace, name, plot)
    if json:
        print_json({"workload": name, "seed": seed, **msgspec.to_builtins(found)})
    else:
        _show(found)


def _list(json: bool) -> None:
    kinds = {kind: {name: _setting(*about) for name, about in settings_of(kind).items()} for kind in KINDS}
    if json:
        print_json(kinds)
        return
    for kind, settings in kinds.items():
        console.print(f"[bold]{kind}[/]  {_first_line(kind)}")
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
        for setting, about in settings.items():
            default = "" if about["default"] is None else str(about["default"])
            table.add_row(f"  {setting}", default, f"[dim]{about['about']}[/]")
        console.print(table)


def _setting(default: Any, about: str) -> dict[str, Any]:
    return {"default": None if default is msgspec.NODEFAULT else default, "about": about}


def _first_line(kind: str) -> str:
    return (workload_class(kind).__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


def _show(found: Summary) -> None:
    gaps = found.gap_s or {}
    lines = {
        "functions": f"{found.functions:,}, {found.called:,} of them called",
        "calls": f"{found.requests:,} in {show_seconds(found.span_s)}",
        "a minute": f"{found.rate_per_min:,.1f}, from {found.quietest_minute:,} to {found.busiest_minute:,}",
        "share of calls": ", ".join(f"top {n}: {share:.0%}" for n, share in found.top_share.items()),
        "functions by variation": _classes(found.classes),
        "the same, as recorded": _classes(found.classes_before) if found.classes_before else "",
        "gaps": ", ".join(f"{name} {show_seconds(gap)}" for name, gap in gaps.items()) or "none",
        "gaps over 10 min": f"{found.gaps_over_10_min:.2%}",
        "triggers": ", ".join(f"{name} {count:,}" for name, count in found.triggers.items()),
        "median duration": show_seconds(found.median_duration_s) if found.median_duration_s else "",
        "known of each call": ", ".join(found.columns),
    }
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    for what, shown in lines.items():
        if shown:
            table.add_row(f"[bold]{what}[/]", shown)
    console.print(table)


def _classes(found: Classes) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in msgspec.structs.asdict(found).items())
