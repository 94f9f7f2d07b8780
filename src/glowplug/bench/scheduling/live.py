"""Part `live` of `scheduling`: real processes on virtual devices under an Azure-shaped load, and their twin.

Eight functions of real and seeded models share three virtual devices, which hold four of them at a time all
together. Two policies take turns on the same calls; every answer is checked, what devices and node hold is
sampled, and each run is done again in virtual time from its own journal.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.live.calls import caller_of, play
from glowplug.bench.live.load import Caller, Outcome, count, errors_by_kind, latencies, quantile
from glowplug.bench.live.models import FUNCTIONS, Served, lacking, write_apps
from glowplug.bench.live.twin import simulate, take_journal
from glowplug.bench.recorded_hour import hour_path, no_hour
from glowplug.bench.result import Claim, claim
from glowplug.bench.systems.sampler import Sampler
from glowplug.client import Client
from glowplug.core.status import DeviceStatus
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.trace import Trace

Tell = Callable[[str], None]
_LEAST_BYTES, _MOST_BYTES = 4 * 10**6, 16 * 10**6
BASELINE, OURS = "lb", "finish-first"
COLUMNS = (
    "scheduling", "requests", "mean_s", "p50_s", "p95_s", "p99_s", "loads", "wrong", "lost",
    "simulated_mean_s", "simulated_p95_s",
)  # fmt: skip


class LiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Devices hold one model of `device_bytes` each, but the first two of them; a copy goes at `bytes_per_s`
    and no run takes less than `run_s`. `trace` is where the Azure trace of 2019 lies; without it calls are
    drawn (Zipf). `rounds` times each policy has its turn of `minutes`, in turned order: with one deploy
    before, and seconds for each server, a quarter of an hour as it is."""

    minutes: float = 3.0
    rate_per_min: int = 400
    rounds: int = 2
    device_bytes: int = 900 * 10**6
    bytes_per_s: float = 3e9
    run_s: float = 0.06
    budget_bytes: int = 4 * 10**9
    timeout_s: float = 120.0
    sample_every_s: float = 0.25
    trace: str = msgspec.field(default_factory=hour_path)
    seed: int = 1

    @property
    def devices(self) -> tuple[str, ...]:
        """As `serve --devices` takes them: room for four models on three devices."""
        rest = f"@{self.bytes_per_s:.0f}/s,run={self.run_s}"
        return f"virtual:1x{2 * self.device_bytes}{rest}", f"virtual:2x{self.device_bytes}{rest}"

    @property
    def placed(self) -> tuple[str, ...]:
        """What tells a server of them."""
        return tuple(word for device in self.devices for word in ("--devices", device))

    @property
    def declared(self) -> dict[str, str]:
        """What each function says of itself: it computes on a device, of which it takes so much."""
        return {
            "device": '"gpu"', "device_memory": str(self.device_bytes), "max_queue": "10_000",
            "timeout": '"10m"',
        }  # fmt: skip

    @property
    def workload(self) -> str:
        shape = f"rate_per_min={self.rate_per_min},minutes={self.minutes:g}"
        if Path(self.trace).exists():
            return f"azure2019:{self.trace},top={FUNCTIONS},{shape}"
        return f"zipf:functions={FUNCTIONS},s=0.5,{shape}"


def missing(options: LiveOptions) -> list[str]:
    """In words what could not be as it is meant to be on this machine."""
    found = [f"real models (seeded ones stand in): {package} is not installed" for package in lacking()]
    absent = no_hour(options.trace, "traces")
    if absent is not None:
        found.append(f"the Azure trace (a Zipf mix stands in): {absent}")
    return found


def rows(options: LiveOptions, folder: Path, tell: Tell) -> list[dict[str, Any]]:
    """One for each run, in their order. Raises RuntimeError when a server or a deploy fails."""
    tell("live: models are made")
    sources, served = write_apps(folder, options.declared, _LEAST_BYTES, _MOST_BYTES, options.seed)
    state = folder / "state"
    with running_server(sources, state, options.budget_bytes, options.placed) as server:
        server.wait_deployed(FUNCTIONS, lambda ready: tell(f"live: {ready} of {FUNCTIONS} are deployed"))
    take_journal(state)
    trace = make_trace(options.workload, options.seed)
    found = []
    for number in range(options.rounds):
        for policy in (BASELINE, OURS) if number % 2 == 0 else (OURS, BASELINE):
            words = f"live: {policy}, round {number + 1} of {options.rounds}"
            found.append(_run(options, policy, state, served, trace, _prefixed(tell, words)))
    return found


def claims(found: list[dict[str, Any]]) -> list[Claim]:
    """What the live part promises, of the rows of all its runs."""
    ours = [row for row in found if row["scheduling"] == OURS]
    theirs = [row for row in found if row["scheduling"] == BASELINE]
    live = sorted(seconds for row in ours for seconds in row["seconds"])
    again = sorted(seconds for row in ours for seconds in row["simulated_seconds"])
    return [
        claim("live: mean of lb over ours", _mean(theirs) / _mean(ours), "at least", 1.3),
        claim("live: wrong answers", sum(row["wrong"] for row in found), "at most", 0),
        claim("live: requests lost", sum(row["lost"] for row in found), "at most", 0),
        claim("live: samples over a budget", sum(row["over_budget"] for row in found), "at most", 0),
        claim("live and simulated: requests compared", len(live), "at least", 2000),
        claim("live and simulated: mean apart", _apart(statistics.mean, live, again), "at most", 0.15),
        claim("live and simulated: p95 apart", _apart(_p95, live, again), "at most", 0.25),
    ]


def _prefixed(tell: Tell, words: str) -> Tell:
    return lambda more: tell(f"{words}: {more}")


def _mean(found: list[dict[str, Any]]) -> float:
    seconds: list[float] = [each for row in found for each in row["seconds"]]
    return statistics.mean(seconds)


def _p95(ordered: list[float]) -> float:
    return quantile(ordered, 0.95)


def _apart(read: Callable[[list[float]], float], live: list[float], again: list[float]) -> float:
    return abs(read(again) / read(live) - 1)


def _run(
    options: LiveOptions, policy: str, state: Path, served: list[Served], trace: Trace, tell: Tell
) -> dict[str, Any]:
    """On a fresh server."""
    words = (*options.placed, "--scheduling", policy)
    with running_server([], state, options.budget_bytes, words) as server:
        server.wait_deployed(FUNCTIONS)
        for each in served:
            tell(f"{each.function} is staged")
            server.stand_at(each.function, "staged")
        with Sampler(server.agent_pid, state / "packs", options.sample_every_s) as sampler:
            outcomes, samples = asyncio.run(_load(options, server, served, trace, tell))
        server.check_alive()
    tell("again in virtual time")
    live = take_journal(state)
    again = sorted(answer.latency_s for answer in simulate(live) if answer.code == "ok")
    seconds = latencies(outcomes)
    over = sum(device.used_bytes > device.capacity_bytes for sample in samples for device in sample)
    over += sum(held > options.budget_bytes for _, held in sampler.samples)
    return {
        "part": "live", "scheduling": policy, "workload": options.workload, "requests": len(outcomes),
        "mean_s": statistics.mean(seconds), "p50_s": quantile(seconds, 0.5), "p95_s": quantile(seconds, 0.95),
        "p99_s": quantile(seconds, 0.99), "loads": live.loads, "wrong": count(outcomes, "wrong"),
        "lost": len(outcomes) - len(seconds) - count(outcomes, "wrong"),
        "errors_by_kind": errors_by_kind(outcomes), "over_budget": over,
        "samples": len(samples) + len(sampler.samples), "peak_bytes": sampler.peak_bytes,
        "simulated_mean_s": statistics.mean(again), "simulated_p95_s": quantile(again, 0.95),
        "seconds": seconds, "simulated_seconds": again,
    }  # fmt: skip


async def _load(
    options: LiveOptions, server: RunningServer, served: list[Served], trace: Trace, tell: Tell
) -> tuple[list[Outcome], list[list[DeviceStatus]]]:
    over = asyncio.Event()
    words = f"of {trace.requests} requests in {options.minutes:g} minutes"
    watching = asyncio.create_task(_watch(server.url, options.sample_every_s, over))
    try:
        with caller_of(server) as caller:
            outcomes = await play(
                trace,
                lambda function, number: _call(caller, served[function], number, options.timeout_s),
                lambda share: tell(f"{share:.0%} {words}"),
            )
    finally:
        over.set()
        samples = await watching
    return outcomes, samples


async def _call(caller: Caller, served: Served, number: int, timeout_s: float) -> Outcome:
    which = number % len(served.requests)
    return await caller.call(
        served.function, served.requests[which], lambda answer: served.is_right(which, answer),
        timeout_s=timeout_s,
    )  # fmt: skip


async def _watch(url: str, every_s: float, over: asyncio.Event) -> list[list[DeviceStatus]]:
    """What devices hold, again and again, until it is over."""
    samples = []
    with Client(url) as client:
        while not over.is_set():
            samples.append(await asyncio.to_thread(client.devices))
            try:
                await asyncio.wait_for(over.wait(), every_s)
            except TimeoutError:
                continue
    return samples
