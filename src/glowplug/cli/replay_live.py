"""`glowplug replay --live`: a workload on a server of its own for each policy."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from glowplug.cli.control_options import check_cpu_share
from glowplug.cli.interrupts import signals_interrupt
from glowplug.cli.output import print_json
from glowplug.cli.progress import progress
from glowplug.cli.replay_shown import calls_of, draw, end, row, show
from glowplug.core.errors import GlowplugError, InvalidArguments
from glowplug.core.units import parse_bytes
from glowplug.sim.replays import Replayed


def play_live(
    what: str,
    policies: list[str],
    memory: str | None,
    cpu_share: float,
    uncalled: bool,
    seed: int,
    json: bool,
    plot: Path | None,
) -> None:
    """`memory` is bytes, such as 1GB. Raises InvalidArguments, InvalidDeclaration for a policy that there is
    not, and GlowplugError when a server fails."""
    from glowplug.bench.live.replay import live_system, replay_live

    if memory is None or memory.strip().endswith("%"):
        raise InvalidArguments("--memory: with --live it is bytes, such as 1GB", "memory")
    budget_bytes = parse_bytes(memory, "--memory")
    check_cpu_share(cpu_share)
    systems = [
        structs.replace(live_system(policy), cpu_share=cpu_share, uncalled=uncalled) for policy in policies
    ]
    trace, _ = calls_of(what, seed)
    found: dict[str, Replayed] = {}
    signals_interrupt()
    for system in systems:
        with progress(system.name) as tell:
            try:
                found[system.name] = replay_live(trace, system, budget_bytes, tell=tell)
            except RuntimeError as error:
                raise GlowplugError(f"{system.name}: {error}") from error
    if plot is not None:
        draw(found, what, plot, simulated=False)
    rows = [row(policy, each, trace.requests) for policy, each in found.items()]
    if json:
        about = {"workload": what, "node_bytes": budget_bytes, "simulated": False}
        print_json({**about, "preload_cpu_share": cpu_share, "preload_uncalled": uncalled, "policies": rows})
    else:
        show(rows)
    end(rows)
