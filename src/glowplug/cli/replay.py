"""`glowplug replay`: a workload under pre-load policies, simulated; or a journal's events, handled again."""

from __future__ import annotations

import sys
from math import ceil, isfinite
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from rich.table import Table

from glowplug.cli.functions import Json, Seed
from glowplug.cli.interrupts import signals_interrupt
from glowplug.cli.numbers import Whole
from glowplug.cli.output import check_plot, console, drawing, plain_table, print_json
from glowplug.cli.progress import progress
from glowplug.compose import default_state_dir
from glowplug.control.journal import ReplayReport
from glowplug.control.journal_files import replay as replay_journal
from glowplug.control.journal_files import segment_paths
from glowplug.core.errors import GlowplugError, InvalidArguments, InvalidUpload, InvalidWorkload
from glowplug.core.ladder import Step
from glowplug.core.units import parse_bytes, show_bytes, show_seconds
from glowplug.sim.footprints import PUBLISHED
from glowplug.sim.replays import Cluster, Replayed, System, all_loaded_bytes, least_node_bytes
from glowplug.sim.replays import replay as replay_trace
from glowplug.sim.standing import HELD_ON
from glowplug.sim.systems import Substrate, system_of
from glowplug.sim.workloads.registry import parse
from glowplug.sim.workloads.trace import Trace

_MISMATCHES_SHOWN = 20
_NODES, _SHARE = 4, 0.25
"""Without --nodes and --memory, where that is enough for each function."""


def replay(
    what: str = "",
    *,
    policy: Annotated[str, Parameter(name=["--policy", "-p"])] = "ladder,fixed,tyche",
    nodes: Whole | None = None,
    memory: str | None = None,
    substrate: Substrate | None = None,
    seed: Seed = 0,
    live: bool = False,
    json: Json = False,
    plot: Path | None = None,
) -> None:
    """Play a workload under policies that load functions ahead, simulated, and compare what calls waited.

    The controller and its policies are those of `glowplug serve`. Of the workload only when which function is
    called counts: loads and memory are those of published models, and each answer takes 0.2 s. A path instead
    of a workload is a journal: its events are handled again, and the exit status is 1 when a command differs.

    For example:

        glowplug replay azure2019:traces/azure2019_1h_1000fn,top=100,minutes=10 --memory 10%
        glowplug replay mix:traces/azure2019_1h_1000fn -p ladder,faascache --substrate process --plot cdf.png
        glowplug replay access_log:glowplug.jsonl    # what serve --access-log wrote
        glowplug replay events:calls.csv --nodes 2 --json    # columns time_s,function
        glowplug replay zipf:functions=8,rate_per_min=60,minutes=3 -p ladder,fixed --live --memory 1GB
        glowplug replay                                # the journal of `glowplug serve`
        glowplug replay /var/lib/glowplug/journal --json

    Parameters
    ----------
    what
        A workload as `glowplug workload` names it, with a colon, or a journal's folder. Default: the journal
        of `glowplug serve`.
    policy
        Behind commas: fixed, histogram, faascache, pagurus, tyche, instainfer, ladder, and clairvoyant, which
        is ladder where the next calls are known. Each may name what
        keeps workers warm under it, as in tyche+histogram.
    nodes
        How many simulated nodes share the memory; without it 4, or so few that each function fits on one.
    memory
        Of all nodes together: a share of what keeping every function loaded would take; without it 25%, or
        more where a node could not hold each function. With --live bytes.
    substrate
        What a simulated warm worker is: forked from a zygote (without it), or a process with all of its own.
    seed
        For what is drawn; a `seed=` in the workload goes before it.
    live
        On a server of its own for each policy, with generated functions that load and answer as the simulated
        ones do, in a twentieth of their memory; it takes as long as the workload is.
    plot
        Draw latencies by policy, and over time the memory and on which step of the ladder how many functions
        and bytes are, into this file.
    """
    if ":" not in what or Path(what).is_dir():
        _journal(Path(what) if what else default_state_dir() / "journal", json)
        return
    check_plot(plot)
    if live:
        _simulated_alone(nodes=nodes, substrate=substrate)
        _live(what, [name.strip() for name in policy.split(",")], memory, seed, json, plot)
        return
    substrate, nodes = substrate or "zygote", None if nodes is None else _at_least_one(nodes)
    systems = [system_of(name.strip(), substrate) for name in policy.split(",")]
    share = None if memory is None else share_of(memory)
    trace, seed = _trace(what, seed)
    cluster = cluster_of(trace, systems, nodes, share)
    nodes = cluster.nodes
    found: dict[str, Replayed] = {}
    for system in systems:
        with progress(system.name) as tell:
            found[system.name] = replay_trace(trace, system, cluster, seed=seed, tell=tell)
    if plot is not None:
        _draw(found, what, plot, simulated=True)
    rows = [row(system.name, found[system.name], trace.requests) for system in systems]
    node_bytes = cluster.node_bytes(PUBLISHED, trace.functions)
    if json:
        about = {"workload": what, "seed": seed, "nodes": nodes, "node_bytes": node_bytes, "simulated": True}
        print_json({**about, "substrate": substrate, "policies": rows})
        _end(rows)
        return
    console.print(
        f"{trace.requests:,} calls of {trace.functions:,} functions, {_counted(nodes)} of "
        f"{show_bytes(node_bytes)}; simulated",
        style="dim",
        highlight=False,
    )
    console.print(_table(rows))
    if any(row["failed"] for row in rows):
        console.print(
            "calls that failed, or had no answer within an hour, are in no other column: give more --memory",
            style="yellow",
            highlight=False,
        )
    _end(rows)


def _end(rows: list[dict[str, Any]]) -> None:
    """With an exit status of 1 where a policy answered nothing."""
    if any(row["wait_mean_s"] is None for row in rows):
        sys.exit(1)


def cluster_of(trace: Trace, systems: list[System], nodes: int | None, share: float | None) -> Cluster:
    """What was given, and of the rest so few nodes, and if need be so much memory, that each of the functions
    that are called can run on a node. Raises InvalidArguments where what was given does not let it."""
    all_bytes, least_bytes = all_loaded_bytes(PUBLISHED, trace.functions), least_node_bytes(trace, systems)
    most = int(all_bytes * (_SHARE if share is None else share) / least_bytes)
    if nodes is None:
        nodes = max(1, min(_NODES, most))
    if nodes <= most:
        return Cluster(nodes=nodes, memory_share=_SHARE if share is None else share)
    if share is None:
        return Cluster(nodes=nodes, memory_share=(least_bytes + 1) * nodes / all_bytes)
    node_bytes = Cluster(nodes=nodes, memory_share=share).node_bytes(PUBLISHED, trace.functions)
    each = "the node" if nodes == 1 else f"each of {nodes} nodes"
    fewer = f", or --nodes {most}" if most else ""
    raise InvalidArguments(
        f"--memory: {each} would have {show_bytes(node_bytes)}, and the largest function needs "
        f"{show_bytes(least_bytes)} with its libraries: give at least --memory "
        f"{ceil(100 * (least_bytes + 1) * nodes / all_bytes)}%{fewer}",
        "memory",
    )


def _live(
    what: str, policies: list[str], memory: str | None, seed: int, json: bool, plot: Path | None
) -> None:
    from glowplug.bench.live.replay import check_policy, replay_live

    if memory is None or memory.strip().endswith("%"):
        raise InvalidArguments("--memory: with --live it is bytes, such as 1GB", "memory")
    budget_bytes = parse_bytes(memory, "--memory")
    for policy in policies:
        check_policy(policy)
    trace, _ = _trace(what, seed)
    found: dict[str, Replayed] = {}
    signals_interrupt()
    for policy in policies:
        with progress(policy) as tell:
            try:
                found[policy] = replay_live(trace, policy, budget_bytes, tell=tell)
            except RuntimeError as error:
                raise GlowplugError(f"{policy}: {error}") from error
    if plot is not None:
        _draw(found, what, plot, simulated=False)
    rows = [row(policy, each, trace.requests) for policy, each in found.items()]
    if json:
        print_json({"workload": what, "node_bytes": budget_bytes, "simulated": False, "policies": rows})
    else:
        console.print(_table(rows))
    _end(rows)


def _simulated_alone(**options: object) -> None:
    """Refuses options that have no effect with --live."""
    for name, value in options.items():
        if value is not None:
            raise InvalidArguments(
                f"--{name}: with --live there is this machine alone, a node of zygotes", name
            )


def _trace(what: str, seed: int) -> tuple[Trace, int]:
    """The workload's calls, and the seed that they were drawn by: its own goes before `seed`."""
    made, own_seed = parse(what)
    seed = seed if own_seed is None else own_seed
    trace = made.trace(seed)
    if not trace.requests:
        raise InvalidWorkload(f"{what} has no calls")
    return trace, seed


_MOST_SHARE = 1e5
"""As many nodes as there may be, each with room for all."""


def share_of(memory: str) -> float:
    """Of `25%` or `0.25`. Raises InvalidArguments."""
    text = memory.strip()
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        share = 0.0
    if not 0.0 < share <= _MOST_SHARE:
        most = f"{_MOST_SHARE:.0%}"
        raise InvalidArguments(
            f"--memory: {memory} is not a share such as 25% or 0.25, up to {most}", "memory"
        )
    return share


def row(policy: str, found: Replayed, requests: int) -> dict[str, Any]:
    waits_s = found.waits_s
    answered = len(waits_s) > 0
    return {
        "policy": policy,
        "wait_mean_s": float(waits_s.mean()) if answered else None,
        "wait_p50_s": float(np.percentile(waits_s, 50)) if answered else None,
        "wait_p99_s": float(np.percentile(waits_s, 99)) if answered else None,
        "waited_share": found.waited / len(waits_s) if answered else None,
        "failed": found.failed,
        "loaded_ahead": found.started,
        "used_share": found.preloaded / max(1, requests),
        "wasted": found.wasted,
        "wasted_byte_s": found.wasted_byte_s,
        "load_ahead_s": found.cpu_s,
        "load_s": found.loading_s if isfinite(found.loading_s) else None,
        "held_mean_bytes": float(found.memory_bytes.mean()),
        "functions_mean_by_step": {
            step.label: float((found.steps == step).sum(axis=1).mean()) for step in Step if step
        },
        "held_mean_bytes_by_step": dict(zip(HELD_ON, found.held_bytes.mean(axis=0).tolist(), strict=True)),
    }


def _counted(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _at_least_one(nodes: int) -> int:
    if nodes < 1:
        raise InvalidArguments(f"--nodes: {nodes} is less than one", "nodes")
    return nodes


def _table(rows: list[dict[str, Any]]) -> Table:
    table = plain_table()
    names = ("POLICY", "WAIT", "P50", "P99", "WAITED", "AHEAD", "WASTED", "HELD", "FAILED")
    for name in names:
        table.add_column(name, justify="left" if name == "POLICY" else "right")
    for each in rows:
        waits = (each["wait_mean_s"], each["wait_p50_s"], each["wait_p99_s"])
        share = each["waited_share"]
        table.add_row(
            each["policy"], *("-" if wait is None else show_seconds(wait) for wait in waits),
            "-" if share is None else f"{share:.1%}", f"{each['loaded_ahead']:,}",
            f"{each['wasted']:,}", show_bytes(int(each["held_mean_bytes"])), f"{each['failed']:,}",
        )  # fmt: skip
    return table


def _draw(found: dict[str, Replayed], title: str, path: Path, *, simulated: bool) -> None:
    from glowplug.bench.pictures.replay import draw

    with drawing(path):
        draw(found, title, path, simulated=simulated)


def _journal(place: Path, json: bool) -> None:
    if not segment_paths(place):
        raise InvalidUpload(
            f"no journal in {place}: give the folder that holds the journal-*.gpj files, or a workload such "
            "as zipf:functions=35"
        )
    report = replay_journal(place)
    if json:
        print_json(report)
    else:
        _tell(report)
    sys.exit(bool(report.mismatches))


def _tell(report: ReplayReport) -> None:
    console.print(
        f"{report.events:,} events in {report.segments} segments were handled again: "
        f"{report.commands:,} commands, "
        + (f"{len(report.mismatches)} events gave others" if report.mismatches else "all as they were"),
        highlight=False,
    )
    if report.torn_bytes:
        console.print(
            f"  {show_bytes(report.torn_bytes)} were cut off at the end: something was killed as it wrote"
        )
    if report.foreign:
        console.print(f"  left out: {report.foreign} segments that another version of Glowplug wrote")
    for each in report.mismatches[:_MISMATCHES_SHOWN]:
        console.print(f"  {each.segment}, event {each.number}: {each.event}", markup=False, highlight=False)
