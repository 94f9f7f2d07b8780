"""How long functions take to go when somebody needs their memory, read from a run's journal."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from glowplug.bench.live.twin import LiveRun
from glowplug.core.commands import Climb, Descend
from glowplug.core.events import StepLost
from glowplug.core.ids import FunctionId


class Gone(msgspec.Struct):
    """Seconds of each eviction of one function: `processes_s` until a worker or zygote had ended, `weights_s`
    from the end of the last of them until its weights were out of memory."""

    processes_s: list[float] = []
    weights_s: list[float] = []


def gone(run: LiveRun) -> dict[FunctionId, Gone]:
    """By function; of those that nothing was taken from there is none."""
    found: defaultdict[FunctionId, Gone] = defaultdict(Gone)
    owner = _owners(run)
    evicted = {
        command.id: at_s
        for at_s, command in run.commands
        if isinstance(command, Descend) and command.why == "evicted"
    }
    ended_s: dict[FunctionId, float] = {}
    for at_s, event in run.events:
        if not isinstance(event, StepLost) or (event.target.kind, event.target.key) not in owner:
            continue
        function = owner[event.target.kind, event.target.key]
        began_s = evicted.get(event.command) if event.command is not None else None
        if event.target.kind != "weights":
            ended_s[function] = at_s
            if began_s is not None:
                found[function].processes_s.append(at_s - began_s)
        elif began_s is not None:
            found[function].weights_s.append(at_s - max(began_s, ended_s.get(function, 0.0)))
    return dict(found)


def _owners(run: LiveRun) -> dict[tuple[str, str], FunctionId]:
    """Whose each target is, by its kind and key: workers by number, zygotes by version, weights by version or
    by pack, those that several have as their last one's."""
    found: dict[tuple[str, str], FunctionId] = {}
    for _, command in run.commands:
        if isinstance(command, Climb) and command.target.kind in ("instance", "version"):
            found[command.target.kind, command.target.key] = command.spec.function
            found["weights", command.spec.version] = command.spec.function
            if command.facts is not None:
                found["weights", command.facts.pack] = command.spec.function
    return found
