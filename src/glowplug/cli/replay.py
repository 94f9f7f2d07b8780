"""`glowplug replay`: a workload under pre-load policies, simulated; or a journal's events, handled again."""

from __future__ import annotations

from math import inf, isfinite
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import structs

from glowplug.cli.control_options import check_cpu_share
from glowplug.cli.functions import Json, Seed
from glowplug.cli.numbers import Whole
from glowplug.cli.output import check_plot, console, print_json
from glowplug.cli.progress import progress
from glowplug.cli.replay_cluster import cluster_of, share_of
from glowplug.cli.replay_journal import journal, journal_at
from glowplug.cli.replay_live import play_live
from glowplug.cli.replay_shown import calls_of, draw, end, row, show
from glowplug.compose import default_state_dir
from glowplug.core.errors import InvalidArguments
from glowplug.core.settings import ControlSettings
from glowplug.core.units import show_bytes
from glowplug.sim.footprints import PUBLISHED
from glowplug.sim.replays import Replayed
from glowplug.sim.replays import replay as replay_trace
from glowplug.sim.systems import Substrate, system_of

_POLICIES = "ladder,fixed,tyche"


def replay(
    what: str = "",
    *,
    policy: Annotated[str | None, Parameter(name=["--policy", "-p"])] = None,
    nodes: Whole | None = None,
    memory: str | None = None,
    substrate: Substrate | None = None,
    preload_cpu_share: float | None = None,
    preload_uncalled: bool | None = None,
    seed: Seed | None = None,
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
        Behind commas: fixed, histogram, faascache, pagurus, tyche, instainfer, ladder, and simulated
        clairvoyant, which is ladder where the next calls are known. Each may name what keeps workers warm
        under it, as in tyche+histogram. Default: ladder,fixed,tyche.
    nodes
        How many simulated nodes share the memory; without it 4, or so few that each function fits on one.
    memory
        Of all nodes together: a share of what keeping every function loaded would take; without it 25%, or
        more where a node could not hold each function. With --live bytes.
    substrate
        What a simulated warm worker is: forked from a zygote (without it), or a process with all of its own.
    preload_cpu_share
        How much of one core, at each node, loads ahead of calls may take, as of `serve`: 0.15 without it,
        inf for no limit, when simulated.
    preload_uncalled
        Whether ladder also loads what nobody has called yet, where memory is free, as of `serve`: it does
        without this.
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
        if live and not what:
            raise InvalidArguments("--live needs a workload, such as zipf:functions=8,minutes=3", "what")
        place = journal_at(Path(what) if what else default_state_dir() / "journal")
        _refuse(
            "a journal is handled again under its own settings",
            policy=policy, nodes=nodes, memory=memory, substrate=substrate,
            preload_cpu_share=preload_cpu_share, preload_uncalled=preload_uncalled, seed=seed,
            live=live or None, plot=plot,
        )  # fmt: skip
        journal(place, json)
        return
    check_plot(plot)
    cpu_share = ControlSettings().preload_cpu_share if preload_cpu_share is None else preload_cpu_share
    check_cpu_share(cpu_share, inf)
    uncalled = ControlSettings().preload_uncalled if preload_uncalled is None else preload_uncalled
    names = [name.strip() for name in (policy or _POLICIES).split(",")]
    if live:
        _refuse(
            "with --live there is this machine alone, a node of zygotes", nodes=nodes, substrate=substrate
        )
        play_live(what, names, memory, cpu_share, uncalled, seed or 0, json, plot)
        return
    substrate, nodes = substrate or "zygote", None if nodes is None else _at_least_one(nodes)
    systems = [
        structs.replace(system_of(name, substrate), cpu_share=cpu_share, uncalled=uncalled) for name in names
    ]
    share = None if memory is None else share_of(memory)
    trace, seed = calls_of(what, seed or 0)
    cluster = cluster_of(trace, systems, nodes, share)
    nodes = cluster.nodes
    found: dict[str, Replayed] = {}
    for system in systems:
        with progress(system.name) as tell:
            found[system.name] = replay_trace(trace, system, cluster, seed=seed, tell=tell)
    if plot is not None:
        draw(found, what, plot, simulated=True)
    rows = [row(system.name, found[system.name], trace.requests) for system in systems]
    node_bytes = cluster.node_bytes(PUBLISHED, trace.functions)
    if json:
        about = {"workload": what, "seed": seed, "nodes": nodes, "node_bytes": node_bytes, "simulated": True}
        about |= {"preload_cpu_share": cpu_share if isfinite(cpu_share) else None}
        about |= {"preload_uncalled": uncalled, "substrate": substrate}
        print_json({**about, "policies": rows})
    else:
        console.print(
            f"{trace.requests:,} calls of {trace.functions:,} functions, {_counted(nodes)} of "
            f"{show_bytes(node_bytes)}; simulated",
            style="dim",
            highlight=False,
        )
        show(rows)
    end(rows)


def _refuse(why: str, **options: object) -> None:
    """Refuses options that would have no effect."""
    for name, value in options.items():
        if value is not None:
            raise InvalidArguments(f"--{name.replace('_', '-')}: {why}", name)


def _at_least_one(nodes: int) -> int:
    if nodes < 1:
        raise InvalidArguments(f"--nodes: {nodes} is less than one", "nodes")
    return nodes


def _counted(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"
