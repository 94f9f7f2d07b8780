"""Part `live` of `preloading`: real processes under pre-load policies, and what the simulator says of them.

Eight functions of real and seeded models are called as the four-hour mix has it, all of it in some minutes,
on a fresh server for each policy in turn; they need half as much again as the budget has. Before that
everything is measured alone, once: what an answer takes from each step, what zygotes hold, and how long it
takes until memory is back that another function had. From this and from the moments of the calls the
simulator, which has the same controller, says what each policy comes to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.live.calls import caller_of, play
from glowplug.bench.live.load import Outcome
from glowplug.bench.live.models import FUNCTIONS, Served, lacking, write_apps
from glowplug.bench.live.times import REST_S, displace, measure
from glowplug.bench.live.twin import LiveRun, take_journal
from glowplug.bench.preloading import live_rows, twin
from glowplug.bench.preloading.gone import gone
from glowplug.bench.recorded_hour import hour_path
from glowplug.bench.systems.sampler import Sampler
from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.reshape import select, stretch
from glowplug.sim.workloads.trace import Trace

Tell = Callable[[str], None]
_HOT, _MINUTE = 1, 2
_LEAST_CALLS = 4
_ALONE_BYTES = 12 * 10**9
_KEPT_S = 600.0


class LiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's run takes `minutes`, in which all `mix_minutes` of the mix go by, the recorded hour or
    more. Seeded models have `least_bytes` to `most_bytes`. `trace` is where the Azure trace of 2019 lies.
    `times` are the rounds in which everything is measured alone."""

    minutes: float = 10.0
    mix_minutes: float = 240.0
    rounds: int = 1
    times: int = 3
    budget_bytes: int = 3 * 10**9
    least_bytes: int = 500 * 10**6
    most_bytes: int = 800 * 10**6
    timeout_s: float = 120.0
    sample_every_s: float = 1.0
    trace: str = msgspec.field(default_factory=hour_path)
    seed: int = 1

    @property
    def speed(self) -> float:
        return self.mix_minutes / self.minutes

    @property
    def declared(self) -> dict[str, str]:
        """One environment for all, workers that stay for ten minutes of the recorded time, and room for a
        build that draws its weights."""
        return {
            "keep_warm": f'"{_KEPT_S / self.speed:g}s"', "max_queue": "10_000", "timeout": '"10m"',
            "libraries": '["torch", "numpy", "tokenizers"]', "memory": '"3GB"',
        }  # fmt: skip


def missing() -> list[str]:
    """In words what could not be as it is meant to be on this machine."""
    return [f"real models (seeded ones stand in): {package} is not installed" for package in lacking()]


def calls(options: LiveOptions) -> Trace:
    """One function that is hot, two of about once a minute and the rest rare, in this order, at `speed`.
    Raises InvalidWorkload when there are fewer."""
    rates = "rare_least_per_hour=2,rare_most_per_hour=20"
    mix = make_trace(f"mix:{options.trace},minutes={options.mix_minutes:g},{rates}", options.seed)
    draw, hot, minute = np.random.default_rng(options.seed), mix.functions // 20, mix.functions // 5
    often = np.flatnonzero(mix.counts() >= _LEAST_CALLS)
    chosen = []
    for low, high, number in (
        (0, hot, _HOT), (hot, minute, _MINUTE), (minute, mix.functions, FUNCTIONS - _HOT - _MINUTE)
    ):  # fmt: skip
        there = often[(often >= low) & (often < high)]
        if len(there) < number:
            raise InvalidWorkload(f"{options.trace}: too few functions that are called {_LEAST_CALLS} times")
        chosen.append(draw.choice(there, number, replace=False))
    return stretch(select(mix, np.concatenate(chosen)), 1 / options.speed, 60 * options.minutes)


def rows(options: LiveOptions, folder: Path, tell: Tell) -> list[dict[str, Any]]:
    """One for each run, in their order. Raises RuntimeError when a server or a deploy fails."""
    tell("live: models are made")
    sources, served = write_apps(
        folder, options.declared, options.least_bytes, options.most_bytes, options.seed
    )
    state = folder / "state"
    with running_server(sources, state, _ALONE_BYTES) as server:
        server.wait_deployed(FUNCTIONS, lambda ready: tell(f"live: {ready} of {FUNCTIONS} are deployed"))
    take_journal(state)
    return turns(options, state, served, tell)


def turns(options: LiveOptions, state: Path, served: list[Served], tell: Tell) -> list[dict[str, Any]]:
    """Of functions that are deployed there."""
    tell("live: times are measured")
    with running_server([], state, _ALONE_BYTES) as server:
        server.wait_deployed(FUNCTIONS)
        alone = measure(server, served, options.times)
    climbed = take_journal(state)
    twin.forget_weights(state / "packs")
    with running_server([], state, options.budget_bytes, ("--preload", "none")) as server:
        server.wait_deployed(FUNCTIONS)
        displace(server, served, options.times)
    profiles = twin.profiles(climbed, alone, gone(take_journal(state)))
    trace, found = calls(options), []
    for number in range(options.rounds):
        for policy in live_rows.POLICIES[:: 1 if number % 2 == 0 else -1]:
            tell(f"live: {policy}, round {number + 1} of {options.rounds}, {options.minutes:g} minutes")
            outcomes, counted, run = _run(options, policy, state, served, trace)
            names = [served[function].function for _, function in trace.events()]
            called = twin.calls_of(outcomes, names)
            again = twin.simulate(run, profiles, called)
            means_s = twin.spread(run, profiles, called, options.seed, alone)
            row = {"part": "live", "system": policy, "round": number + 1, "simulated": False} | counted
            row |= live_rows.seen(outcomes, names, alone) | live_rows.lent(run)
            found.append(row | live_rows.simulated(again, means_s))
            tell(f"live: {policy}, round {number + 1}: {live_rows.told(found[-1])}")
    return found


def _run(
    options: LiveOptions, policy: str, state: Path, served: list[Served], trace: Trace
) -> tuple[list[Outcome], dict[str, Any], LiveRun]:
    """On a fresh server: the libraries' zygote is up, and nothing else. What others held before has rested,
    for the twin knows of none of it."""
    twin.forget_weights(state / "packs")
    time.sleep(REST_S)
    with running_server([], state, options.budget_bytes, ("--preload", _preload(policy))) as server:
        server.wait_deployed(FUNCTIONS)
        server.stand_at(served[0].function, "imported")
        with Sampler(server.agent_pid, state / "packs", options.sample_every_s) as sampler:
            outcomes = asyncio.run(_played(options, server, served, trace))
        server.check_alive()
        preload = server.preloads()
    seen = {
        "preload": _preload(policy),
        "started": preload["started"], "used": preload["used"], "wasted": preload["wasted"],
        "wasted_byte_s": preload["wasted_byte_seconds"],
        "core_share": preload["seconds"] / (60 * options.minutes),
        "peak_bytes": sampler.peak_bytes, "samples": len(sampler.samples),
        "over_budget": sum(held > options.budget_bytes for _, held in sampler.samples),
    }  # fmt: skip
    return outcomes, seen, take_journal(state)


def _preload(policy: str) -> str:
    """What `serve --preload` calls it."""
    return "none" if policy == "fixed" else policy


async def _played(
    options: LiveOptions, server: RunningServer, served: list[Served], trace: Trace
) -> list[Outcome]:
    with caller_of(server) as caller:

        async def send(function: int, number: int) -> Outcome:
            each = served[function]
            which = number % len(each.requests)
            return await caller.call(
                each.function, each.requests[which], lambda answer: each.is_right(which, answer),
                timeout_s=options.timeout_s,
            )  # fmt: skip

        return await play(trace, send)
