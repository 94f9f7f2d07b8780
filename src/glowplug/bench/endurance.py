"""`endurance`: many functions on little memory. Every answer right, the budget kept, nobody left behind.

Scenario `longtail` calls distinct models in random order under one budget; `idle` deploys many functions that
nobody calls and looks at what the controller needs for them.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.result import Claim, Result, claim, print_claims, print_rows
from glowplug.bench.systems.processes import descendants, living
from glowplug.bench.systems.sampler import Sampler
from glowplug.bench.workloads import tail_answers, tail_models, write_idle, write_tail
from glowplug.client import Client
from glowplug.core.errors import GlowplugError
from glowplug.core.rng import rng_for
from glowplug.node.procfs import memory_fields

COLUMNS = (
    "scenario", "requests", "duration_s", "p50_s", "p99_s", "wrong", "lost", "peak_bytes",
    "memory_bytes_start", "memory_bytes_end",
)  # fmt: skip
VALUE = 0.5
IDLE_MEMORY_BYTES = 200e6
PS_S = 0.200


class Options(msgspec.Struct, frozen=True, kw_only=True):
    functions: int = 300
    calls: int = 600
    least_bytes: int = 10 * 10**6
    most_bytes: int = 100 * 10**6
    budget_bytes: int = 4 * 10**9
    idle_functions: int = 1000
    sample_every_s: float = 0.25
    seed: int = 1
    repeats: int = 1
    quick: bool = False

    def resolved(self) -> Options:
        if not self.quick:
            return self
        return msgspec.structs.replace(
            self, functions=20, calls=40, least_bytes=30 * 10**6, most_bytes=60 * 10**6,
            budget_bytes=1300 * 10**6, idle_functions=20, sample_every_s=0.1,
        )  # fmt: skip


def run(options: Options, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Runs both scenarios. Raises RuntimeError when a deploy fails."""
    options = options.resolved()
    rows, claims = [], []
    for scenario in (_longtail, _idle):
        with tempfile.TemporaryDirectory(prefix="glowplug-endurance-") as folder:
            row, found = scenario(options, Path(folder), tell)
        rows.append(row)
        claims += found
    settings = msgspec.to_builtins(options)
    return Result(experiment="endurance", settings=settings, rows=rows, claims=claims, missing=[])


def report(result: Result, console: Console) -> None:
    print_rows(console, "endurance", result.rows, COLUMNS)
    print_claims(console, result)


def plot(result: Result, path: Path) -> None:
    """Memory over time against the budget. Raises ImportError where matplotlib is missing."""
    from matplotlib.figure import Figure

    row = next(row for row in result.rows if row["scenario"] == "longtail")
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([at for at, _ in row["samples"]], [held / 1e9 for _, held in row["samples"]], label="held")
    axes.axhline(result.settings["budget_bytes"] / 1e9, color="red", linestyle="--", label="budget")
    axes.set(xlabel="seconds", ylabel="GB", title="long tail: memory of all functions")
    axes.legend()
    figure.savefig(path)


def _longtail(
    options: Options, folder: Path, tell: Callable[[str], None]
) -> tuple[dict[str, Any], list[Claim]]:
    models = tail_models(options.functions, options.least_bytes, options.most_bytes, options.seed)
    tell("long tail: the right answers")
    expected = tail_answers(models, VALUE)
    source = write_tail(models, folder)
    order = [models[k % len(models)].function for k in range(options.calls)]
    rng_for(options.seed, 1).shuffle(order)
    errors: Counter[str] = Counter()
    seconds: list[float] = []
    wrong = 0
    with running_server([source], folder / "state", options.budget_bytes) as server:
        with Sampler(server.agent_pid, folder / "state" / "packs", options.sample_every_s) as sampler:
            start_bytes = _resident(server.process.pid)
            deploy_start_s = time.monotonic()
            _wait_deployed(server, len(models), tell)
            deployed_s = time.monotonic() - deploy_start_s
            start_s = time.monotonic()
            with Client(server.url) as client:
                for number, function in enumerate(order):
                    tell(f"long tail: call {number + 1} of {len(order)}")
                    asked_s = time.monotonic()
                    try:
                        wrong += client.invoke(function, {"value": VALUE}) != expected[function]
                    except GlowplugError as error:
                        errors[error.code] += 1
                    seconds.append(time.monotonic() - asked_s)
            duration_s = time.monotonic() - start_s
        end_bytes = _resident(server.process.pid)
        below = descendants(server.process.pid)
    left = living(below)
    seconds.sort()
    row = {
        "scenario": "longtail", "duration_s": duration_s, "deploy_s": deployed_s, "requests": len(order),
        "functions": len(models), "errors_by_kind": dict(errors), "lost": sum(errors.values()),
        "wrong": wrong, "p50_s": _quantile(seconds, 0.5), "p99_s": _quantile(seconds, 0.99),
        "memory_bytes_start": start_bytes, "memory_bytes_end": end_bytes, "peak_bytes": sampler.peak_bytes,
        "samples": [(at - sampler.samples[0][0], held) for at, held in sampler.samples],
        "left_behind": len(left),
    }  # fmt: skip
    return row, [
        claim("long tail: wrong answers", wrong, "at most", 0),
        claim("long tail: errors", sum(errors.values()), "at most", 0),
        claim("long tail: peak_bytes", sampler.peak_bytes, "at most", options.budget_bytes),
        claim("long tail: processes left behind", len(left), "at most", 0),
    ]


def _idle(options: Options, folder: Path, tell: Callable[[str], None]) -> tuple[dict[str, Any], list[Claim]]:
    source = write_idle(options.idle_functions, folder)
    with running_server([source], folder / "state", options.budget_bytes) as server:
        start_bytes = _resident(server.process.pid)
        start_s = time.monotonic()
        halves = _wait_deployed(server, options.idle_functions, tell)
        duration_s = time.monotonic() - start_s
        asked = []
        with Client(server.url) as client:
            for _ in range(9):
                asked_s = time.monotonic()
                found = client.functions()
                asked.append(time.monotonic() - asked_s)
            one = client.invoke(f"idle-{options.idle_functions - 1}", {"value": 1})
        end_bytes = _resident(server.process.pid)
    asked.sort()
    row = {
        "scenario": "idle", "duration_s": duration_s, "requests": 1, "functions": len(found),
        "errors_by_kind": {}, "lost": 0, "wrong": int(one != 2), "p50_s": _quantile(asked, 0.5),
        "p99_s": _quantile(asked, 0.99), "memory_bytes_start": start_bytes, "memory_bytes_end": end_bytes,
        "deploy_second_half_to_first": halves,
    }  # fmt: skip
    return row, [
        claim("idle: memory of the server_bytes", end_bytes, "at most", IDLE_MEMORY_BYTES),
        claim("idle: ps answers in_s", _quantile(asked, 0.5), "at most", PS_S),
        claim("idle: deploying the second half / the first", halves, "at most", 1.5),
    ]


def _wait_deployed(server: RunningServer, count: int, tell: Callable[[str], None]) -> float:
    """Waits until all are ready; returns how much longer the second half took than the first."""
    start_s = time.monotonic()
    half_s = 0.0
    while True:
        found = server.functions()
        failed = [each for each in found.values() if each.state == "failed"]
        if failed:
            raise RuntimeError(f"deploying {failed[0].name} failed: {failed[0].error}")
        ready = sum(each.state == "ready" for each in found.values())
        tell(f"{ready} of {count} functions built")
        now_s = time.monotonic()
        if not half_s and ready >= count / 2:
            half_s = now_s - start_s
        if ready >= count:
            return (now_s - start_s - half_s) / max(half_s, 1e-3)
        with contextlib.suppress(InterruptedError):
            time.sleep(0.25)


def _resident(pid: int) -> int:
    """What the server process itself holds: gateway and controller."""
    return memory_fields(pid).get("Pss", 0)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
