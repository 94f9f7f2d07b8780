"""Part `longtail`: distinct models called in random order under one budget, and each a second time at once.

The second call finds its worker parked: the same functions and the same server, unstressed.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from glowplug.bench.endurance.options import Options, Tell
from glowplug.bench.harness import running_server
from glowplug.bench.live.load import quantile
from glowplug.bench.result import Claim, claim
from glowplug.bench.systems.processes import descendants, living
from glowplug.bench.systems.sampler import Sampler
from glowplug.bench.workloads import tail_answers, tail_models, write_tail
from glowplug.client import Client
from glowplug.core.errors import GlowplugError
from glowplug.core.rng import rng_for
from glowplug.node.procfs import memory_fields

VALUE = 0.5


def run(options: Options, folder: Path, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Raises RuntimeError when a deploy fails."""
    models = tail_models(options.functions, options.least_bytes, options.most_bytes, options.seed)
    tell("long tail: the right answers")
    expected = tail_answers(models, VALUE)
    source = write_tail(models, folder)
    order = [models[k % len(models)].function for k in range(options.calls)]
    rng_for(options.seed, 1).shuffle(order)
    first, again = Calls(), Calls()
    with running_server([source], folder / "state", options.budget_bytes) as server:
        with Sampler(server.agent_pid, folder / "state" / "packs", options.sample_every_s) as sampler:
            start_bytes = _resident(server.process.pid)
            deploy_start_s = time.monotonic()
            server.wait_deployed(len(models), lambda n: tell(f"long tail: {n} of {len(models)} built"))
            deployed_s = time.monotonic() - deploy_start_s
            start_s = time.monotonic()
            with Client(server.url) as client:
                for number, function in enumerate(order):
                    tell(f"long tail: call {number + 1} of {len(order)}")
                    for calls in (first, again):
                        calls.make(client, function, expected[function])
            duration_s = time.monotonic() - start_s
        end_bytes = _resident(server.process.pid)
        below = descendants(server.process.pid)
    left = living(below)
    memory = {"memory_bytes_start": start_bytes, "memory_bytes_end": end_bytes}
    row = {
        "scenario": "longtail", "duration_s": duration_s, "deploy_s": deployed_s, "functions": len(models),
        **first.fields(), **memory, "peak_bytes": sampler.peak_bytes, "left_behind": len(left),
        "samples": [(at - sampler.samples[0][0], held) for at, held in sampler.samples],
    }  # fmt: skip
    unstressed = {"scenario": "longtail: called again at once", **again.fields(), **memory}
    unstressed["duration_s"] = duration_s
    return [unstressed, row], [
        claim("long tail: wrong answers", first.wrong + again.wrong, "at most", 0),
        claim("long tail: errors", first.lost + again.lost, "at most", 0),
        claim("long tail: peak_bytes", sampler.peak_bytes, "at most", options.budget_bytes),
        claim("long tail: processes left behind", len(left), "at most", 0),
    ]


class Calls:
    """What became of a series of calls."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.errors: Counter[str] = Counter()
        self.wrong = 0

    @property
    def lost(self) -> int:
        return self.errors.total()

    def make(self, client: Client, function: str, expected: float) -> None:
        asked_s = time.monotonic()
        try:
            self.wrong += client.invoke(function, {"value": VALUE}) != expected
        except GlowplugError as error:
            self.errors[error.code] += 1
        self.seconds.append(time.monotonic() - asked_s)

    def fields(self) -> dict[str, Any]:
        """The fields of a row."""
        taken = sorted(self.seconds)
        return {
            "requests": len(taken), "errors_by_kind": dict(self.errors), "lost": self.lost,
            "wrong": self.wrong, "p50_s": quantile(taken, 0.5), "p99_s": quantile(taken, 0.99),
        }  # fmt: skip


def _resident(pid: int) -> int:
    """What the server process itself holds: gateway and controller."""
    return memory_fields(pid).get("Pss", 0)
