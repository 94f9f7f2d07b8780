"""`coldstart`: from request to answer of a function that is not running, by step of the ladder and phase by
phase.

The baselines stand where they can: `naive` at `local`, `forkserver` at `imported`. Each repeat visits every
(model, step, cache, system), systems alternating, so that a noisy machine harms all alike, and equally often
at one step. The overhead of a request is its latency above the median of the warm requests that follow it in
the same process by the same way, once nothing climbs: after a cold answer the platform stages the function in
the background, which takes the cores from whoever is asked meanwhile.

`held_bytes` is what the model makes the machine hold at that step, before the request comes: `own_bytes` of
its processes beyond what they share with the one that imported the libraries, `environment_bytes` of that
one, whole, although other models share it, and `weights_bytes` of its weights' file in the page cache. The
server and the agent, which all functions share, are not in it, nor is the script around the fork server.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.answers import TOLERANCE, difference
from glowplug.bench.coldstart import claims
from glowplug.bench.harness import running_server
from glowplug.bench.known_names import check_names
from glowplug.bench.models import MODELS, BenchModel, examples_dir, plain_answers, request_of
from glowplug.bench.pictures.phases import draw_phases
from glowplug.bench.pictures.timeline import Line, timeline
from glowplug.bench.result import Result, print_claims, print_rows, spread
from glowplug.bench.systems import Measurement, System
from glowplug.bench.systems.forkserver import ForkserverSystem
from glowplug.bench.systems.live import LiveSystem
from glowplug.bench.systems.naive import NaiveSystem

COLUMNS = (
    "model",
    "system",
    "step",
    "cache",
    "latency_s",
    "overhead_s",
    "ratio_to_naive",
    "equal",
)
HELD_COLUMNS = (
    "model",
    "system",
    "step",
    "cache",
    "held_bytes",
    "own_bytes",
    "environment_bytes",
    "weights_bytes",
    "private_bytes",
)
COLD_STEPS = ("imported", "staged")
SYSTEMS = ("glowplug", "naive", "forkserver")
STEPS = ("local", "imported", "staged", "parked")
CACHES = ("warm", "cold")
VISITS = {"imported": 2, "staged": 4, "parked": 6}
"""Measurements of a step in each repeat, for every system that stands there: one is not enough against the
machine's noise where a request takes little time."""
Cell = tuple[BenchModel, str, str, System]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`systems` and `models` by name; `quick` is one model, once, for a test that the command lives."""

    models: tuple[str, ...] = tuple(MODELS)
    systems: tuple[str, ...] = SYSTEMS
    steps: tuple[str, ...] = STEPS
    caches: tuple[str, ...] = CACHES
    repeats: int = 5
    visits: dict[str, int] = msgspec.field(default_factory=VISITS.copy)
    warm_repeats: int = 7
    budget_bytes: int = 4 * 10**9
    quick: bool = False

    def __post_init__(self) -> None:
        check_names("coldstart", self, models=MODELS, systems=SYSTEMS, steps=STEPS, caches=CACHES)

    def resolved(self) -> Options:
        """Quick settings stand for all the others. The first model whose packages are installed is taken."""
        if not self.quick:
            return self
        able = [name for name in self.models if not MODELS[name].lacks]
        return msgspec.structs.replace(
            self, models=tuple(able[:1]), caches=("warm",), repeats=1, visits={}, warm_repeats=3
        )


def run(options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Measures; `tell` hears of progress. Raises RuntimeError when a system gives no answer at all."""
    options = options.resolved()
    models = [MODELS[name] for name in options.models if not MODELS[name].lacks]
    missing = [
        f"{name}: install {', '.join(MODELS[name].lacks)}" for name in options.models if MODELS[name].lacks
    ]
    missing.append("other servers: not part of this run")
    requests = {model.name: request_of(model) for model in models}
    tell("plain forwards, for the right answers")
    expected = {model.name: plain_answers(model, [requests[model.name]])[0] for model in models}

    samples: dict[tuple[str, str, str, str], list[Measurement]] = {}
    with contextlib.ExitStack() as stack:
        systems = _start(options, models, stack, tell)
        visits = cells(options, models, systems)
        for repeat in range(options.repeats):
            for number, (model, step, cache, system) in enumerate(visits, 1):
                tell(f"repeat {repeat + 1}, {number} of {len(visits)}: {system.name} {model.name} {step}")
                measured = system.measure(model, requests[model.name], step, cache)
                samples.setdefault((model.name, system.name, step, cache), []).append(measured)
    rows = [_row(key, found, expected[key[0]]) for key, found in samples.items()]
    _add_ratios(rows)
    return Result(
        experiment="coldstart",
        settings={**msgspec.to_builtins(options), "tolerance_of_baselines": TOLERANCE},
        rows=rows,
        claims=claims.equality(rows) if options.quick else claims.claims(rows),
        missing=missing,
    )


def report(result: Result, console: Console) -> None:
    """The rows, what was held for them, where the time went, and the claims."""
    print_rows(console, "coldstart: median (min .. max)", result.rows, COLUMNS)
    print_rows(console, "held before the request came", result.rows, HELD_COLUMNS)
    for model in dict.fromkeys(row["model"] for row in result.rows):
        console.print(f"\n[bold]{model}[/], phases, page cache warm")
        console.print(timeline(lines(result, model)))
    print_claims(console, result)


def lines(result: Result, model: str) -> list[Line]:
    """The rows of one model with its weights in the page cache, as lines of a timeline, the slowest first."""
    rows = [row for row in result.rows if row["model"] == model and row["cache"] == "warm"]
    rows.sort(key=lambda row: -row["latency_s"])
    return [Line(f"{row['system']}, {row['step']}", row["latency_s"], row["phases"]) for row in rows]


def plot(result: Result, path: Path) -> None:
    """One panel a model: bars of phases. Raises ImportError where matplotlib is missing."""
    models = dict.fromkeys(row["model"] for row in result.rows)
    draw_phases(
        {model: lines(result, model) for model in models}, "coldstart: page cache warm, medians", path
    )


def _start(
    options: Options, models: Sequence[BenchModel], stack: contextlib.ExitStack, tell: Callable[[str], None]
) -> list[System]:
    """Starts what is to be measured; the stack ends it."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glowplug-coldstart-")))
    systems: list[System] = []
    if "glowplug" in options.systems:
        tell("a server, and every model deployed")
        files = [examples_dir() / model.app for model in models]
        server = stack.enter_context(running_server(files, folder / "state", options.budget_bytes))
        server.wait_deployed(len(models))
        systems.append(LiveSystem(server, options.warm_repeats))
    if "naive" in options.systems:
        systems.append(NaiveSystem(folder, options.warm_repeats))
    if "forkserver" in options.systems:
        tell("a fork server with every library imported")
        systems.append(ForkserverSystem(list(models), folder, options.warm_repeats))
    for system in systems:
        stack.callback(system.close)
    return systems


def cells(options: Options, models: Sequence[BenchModel], systems: Sequence[System]) -> list[Cell]:
    """One repeat: every combination that exists as often as it is visited, the systems alternating."""
    return [
        (model, step, cache, system)
        for model in models
        for step in options.steps
        for cache in options.caches
        if cache == "warm" or step in COLD_STEPS
        for _ in range(options.visits.get(step, 1))
        for system in systems
        if step in system.steps()
    ]


def _row(key: tuple[str, str, str, str], found: list[Measurement], expected: Any) -> dict[str, Any]:
    model, system, step, cache = key
    names = dict.fromkeys(name for each in found for name in each.phases)
    off = max(difference(each.answer, expected) for each in found)
    private = [each.private_bytes for each in found if each.private_bytes is not None]
    return {
        "system": system, "model": model, "step": step, "cache": cache, "repeats": len(found),
        **spread("latency_s", [each.latency_s for each in found]),
        **spread("overhead_s", [each.latency_s - each.warm_s for each in found]),
        **spread("warm_s", [each.warm_s for each in found]),
        **spread("held_bytes", [each.held.total_bytes for each in found]),
        **{f"{part}_bytes": statistics.median(getattr(each.held, f"{part}_bytes") for each in found)
           for part in ("own", "environment", "weights")},
        **(spread("private_bytes", private) if private else {}),
        "phases": {name: statistics.median(each.phases.get(name, 0.0) for each in found) for name in names},
        "equal": off == 0.0, "difference": off, "real": MODELS[model].real,
    }  # fmt: skip


def _add_ratios(rows: list[dict[str, Any]]) -> None:
    """How many times faster than the naive start of the same model and cache each row's answer came."""
    naive = {(row["model"], row["cache"]): row["latency_s"] for row in rows if row["system"] == "naive"}
    for row in rows:
        reference = naive.get((row["model"], row["cache"]))
        row["ratio_to_naive"] = reference / row["latency_s"] if reference else None
