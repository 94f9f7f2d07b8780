"""`glowplug simulate`: a workload on devices that nobody has rented yet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter, validators
from rich.markup import escape
from rich.table import Table

from glowplug.cli.functions import Json, Seed
from glowplug.cli.numbers import Whole
from glowplug.cli.output import check_plot, console, drawing, print_json
from glowplug.cli.progress import progress
from glowplug.cli.refused import Reasons, largest_called
from glowplug.core.errors import InvalidDeclaration, InvalidWorkload
from glowplug.core.settings import ControlSettings
from glowplug.core.units import parse_bytes, parse_seconds, show_seconds
from glowplug.policy.registry import policy_class
from glowplug.sim.fleets import NEVER_S, FleetSettings, build
from glowplug.sim.models import BUILTIN, ModelProfile, read_models
from glowplug.sim.outcomes import Outcome, latencies_s, offered_load, play
from glowplug.sim.sizing import Sizing, least_devices
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.trace import Trace

OURS = "finish-first"
_SHOWN_S = 600.0
"""Of the timeline that is drawn."""
_MOST_DEVICES = 10_000


def simulate(
    workload: str,
    *,
    devices: Annotated[Whole, Parameter(validator=validators.Number(gte=1, lte=_MOST_DEVICES))] = 12,
    device_memory: str = "8GB",
    policy: Annotated[str, Parameter(name=["--policy", "-p"])] = OURS,
    eviction: str | None = None,
    profiles: str = BUILTIN,
    loader: Literal["paper", "ours"] = "ours",
    copy_bandwidth: str = "12GB",
    host_memory: str = "256GB",
    nodes: Whole = 1,
    max_batch: Whole = 1,
    latency_target: str | None = None,
    timeout: str | None = None,
    find: Literal["devices"] | None = None,
    p99: str | None = None,
    seed: Seed = 0,
    json: Json = False,
    plot: Path | None = None,
) -> None:
    """Simulate a workload on devices that cache models, with the scheduler that runs live.

    Function k of the workload is a model of its own, with row k of the profiles (counted on from the first
    when there are no more).

    For example:

        glowplug simulate zipf:functions=35,s=0.9,rate_per_min=325,minutes=6
        glowplug simulate azure2019:traces/azure2019_1h_1000fn,top=35,rate_per_min=325,minutes=6 \\
            --policy finish-first,lalb-o3,lb --loader paper
        glowplug simulate bursty:functions=70,rate_per_min=400,minutes=30 --find devices --p99 5s
        glowplug simulate events:calls.csv --profiles mine.csv --devices 4 --device-memory 80GB --plot out.png

    Parameters
    ----------
    workload
        KIND:SETTING,... as `glowplug workload` lists them.
    devices
        How many there are.
    device_memory
        What each can hold.
    policy
        Who decides where requests run; several, separated by commas, are compared.
    eviction
        Which idle model goes when room is needed; without it value-per-byte for finish-first, lru for others.
    profiles
        What models take: `builtin` (22 CNNs, published), or a CSV file with the columns model, device_mb,
        load_s, run_s and, where they were measured, copy_s and batch_N_s.
    loader
        `ours` keeps loaded weights in the nodes' memory, from where the next load is a copy; `paper` reads
        them each time.
    copy_bandwidth
        Bytes a second of such a copy.
    host_memory
        What each node may hold of models.
    nodes
        The devices are dealt out to so many nodes.
    max_batch
        Requests of one function that may run as one, where the profiles say what that takes.
    latency_target
        How long an answer may take for the sake of a batch; without it finish-first makes none.
    timeout
        When a client gives up; without it never.
    find
        `devices` looks for the fewest that keep p99 below --p99; --devices is then not used.
    p99
        The bound for --find.
    seed
        For what is drawn.
    json
        Print JSON.
    plot
        Draw latencies, what each device did and what lay there into this file.
    """
    if (find is None) != (p99 is None):
        raise InvalidDeclaration("--find devices needs --p99, as in --p99 5s, and --p99 needs --find devices")
    names = [name.strip() for name in policy.split(",") if name.strip()]
    if not names:
        raise InvalidDeclaration("--policy: name at least one, such as finish-first")
    for name in names:
        policy_class("scheduling", name)
    if eviction is not None:
        policy_class("eviction", eviction)
    given: dict[str, Any] = {
        "devices": devices, "nodes": nodes, "device_bytes": parse_bytes(device_memory, "--device-memory"),
        "loader": loader, "copy_bytes_per_s": float(parse_bytes(copy_bandwidth, "--copy-bandwidth")),
        "host_bytes": parse_bytes(host_memory, "--host-memory"), "max_batch": max_batch,
        "latency_target_s": parse_seconds(latency_target, "--latency-target") if latency_target else 0.0,
        "timeout_s": NEVER_S if timeout is None else parse_seconds(timeout, "--timeout"),
    }  # fmt: skip
    check_plot(plot)
    models, trace = read_models(profiles), make_trace(workload, seed)
    if not trace.requests:
        raise InvalidWorkload(f"{workload} has no calls")
    reasons = Reasons(largest_called(models, trace), given["device_bytes"], timeout)
    if find is not None and reasons.too_large:
        raise InvalidWorkload(f"no number of devices is enough: {reasons.too_large}")
    runs = _Runs(models, trace, seed, keep_log=plot is not None)
    rows: list[dict[str, Any]] = []
    answers: dict[str, Sizing] = {}
    for name in names:
        settings = _settings(given, name, eviction)
        if p99 is None:
            rows.append(runs.row(settings))
            continue
        found = least_devices(
            lambda count, base=settings: runs.outcome(base, count),  # type: ignore[misc]
            p99_s=parse_seconds(p99, "--p99"),
            offered_devices=offered_load(trace, models, 1),
            functions=trace.functions,
        )
        answers[name] = found
        rows += [runs.described(settings, count, outcome) for count, outcome in sorted(found.tried.items())]
    if plot is not None:
        _draw(runs, workload, plot)
    if json:
        devices_found = {name: found.devices for name, found in answers.items()}
        print_json({"workload": workload, "seed": seed, "rows": rows, "devices": devices_found or None})
    else:
        _show(rows, trace)
        for row in rows if find is None else ():
            if row["refused"]:
                words = f"{row['policy']}: {reasons.tell(row['refused'], row['requests'])}"
                console.print(words, style="yellow", highlight=False, markup=False)
        for name, found in answers.items():
            console.print(_answer(name, found, p99 or "", device_memory, reasons))
    if any(found.devices is None for found in answers.values()):
        sys.exit(1)


class _Runs:
    """Simulates, with a bar on stderr; keeps the last run of each policy for a picture."""

    def __init__(self, models: tuple[ModelProfile, ...], trace: Trace, seed: int, *, keep_log: bool) -> None:
        self.models, self.trace, self.seed, self.keep_log = models, trace, seed, keep_log
        self.last: dict[str, Any] = {}

    def row(self, settings: FleetSettings) -> dict[str, Any]:
        return self.described(settings, settings.devices, self.outcome(settings, settings.devices))

    def outcome(self, base: FleetSettings, devices: int) -> Outcome:
        nodes = min(base.nodes, devices)
        settings = msgspec.structs.replace(base, devices=devices, nodes=nodes)
        fleet = build(settings, self.models, self.trace.functions, seed=self.seed, keep_log=self.keep_log)
        with progress(f"{settings.scheduling}, {devices} devices") as tell:
            outcome = play(fleet, self.trace, tell=tell)
        if self.keep_log:
            self.last[settings.scheduling] = fleet.simulation.run((), 0.0)
        return outcome

    def described(self, settings: FleetSettings, devices: int, outcome: Outcome) -> dict[str, Any]:
        load = offered_load(self.trace, self.models, devices)
        about: dict[str, Any] = {
            "policy": settings.scheduling, "eviction": settings.eviction, "devices": devices,
            "device_bytes": settings.device_bytes, "loader": settings.loader, "offered_load": load,
        }  # fmt: skip
        about |= msgspec.to_builtins(outcome)
        return about | {"load_ratio": outcome.loads / max(1, outcome.requests), "simulated": True}


def _settings(given: dict[str, Any], policy: str, eviction: str | None) -> FleetSettings:
    default = ControlSettings().device_eviction if policy == OURS else "lru"
    try:
        return msgspec.convert(given | {"scheduling": policy, "eviction": eviction or default}, FleetSettings)
    except msgspec.ValidationError as error:
        raise InvalidDeclaration(str(error)) from error


def _show(rows: list[dict[str, Any]], trace: Trace) -> None:
    """Simulated figures, and says so."""
    about = f"{trace.requests:,} requests to {trace.functions:,} models in {show_seconds(trace.span_s)}"
    table = Table(title=f"simulated: {about}", title_justify="left")
    columns = ("policy", "devices", "load", "busy", "mean", "p50", "p99", "loads", "refused")
    for column in columns:
        left = column == "policy"
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    for row in rows:
        refused = sum(row["refused"].values())
        table.add_row(
            row["policy"], str(row["devices"]), f"{row['offered_load']:.0%}", f"{row['utilisation']:.0%}",
            *(_seconds(row[field]) for field in ("mean_s", "p50_s", "p99_s")),
            f"{row['load_ratio']:.1%}", f"{refused:,}" if refused else "-",
        )  # fmt: skip
    console.print(table)


def _seconds(value: float) -> str:
    return "-" if value != value else show_seconds(value)


def _answer(policy: str, found: Sizing, p99: str, memory: str, reasons: Reasons) -> str:
    if found.devices is not None:
        return f"{policy}: [bold]{found.devices} devices of {memory}[/] keep p99 at {p99} or less"
    most = max(found.tried)
    outcome = found.tried[most]
    p99_there = _seconds(outcome.p99_s)
    if outcome.refused:
        refused = escape(reasons.tell(outcome.refused, outcome.requests))
        why = f": with so many, {refused}. The p99 of the others is {p99_there}"
    else:
        why = f" for a p99 of {p99}: it is {p99_there} there, by runs and first loads alone"
    return f"{policy}: [red]{most} devices are not enough[/]{why}"


def _draw(runs: _Runs, workload: str, path: Path) -> None:
    from glowplug.bench.scheduling.picture import Picture, draw, evenly
    from glowplug.sim.timeline import intervals

    until_s = min(_SHOWN_S, runs.trace.span_s)
    first = next(iter(runs.last.values()))
    shown = intervals(first, until_s)
    latencies = {name: evenly(latencies_s(result.answers)) for name, result in runs.last.items()}
    with drawing(path):
        draw(Picture(latencies, shown, f"{workload}: {next(iter(runs.last))}"), path)
