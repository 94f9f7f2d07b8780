"""Part `overload`: five times the requests that can be answered, arriving for a minute without waiting.

The capacity is measured first and once more afterwards, by callers that wait for each answer; goodput is
right answers a second while the overload lasts. The function works on one processor for a known time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from glowplug.bench.endurance.deploys import Deployer
from glowplug.bench.endurance.ground import Ground
from glowplug.bench.endurance.options import Options, Tell
from glowplug.bench.endurance.watch import Watch, descriptor_growth, memory_growth
from glowplug.bench.live.load import (
    Caller,
    Load,
    Outcome,
    closed_loop,
    count,
    errors_by_kind,
    latencies,
    quantile,
)
from glowplug.bench.result import Claim, claim
from glowplug.bench.workloads import rounds_of
from glowplug.core.rng import rng_for

GOODPUT = 0.9
REFUSAL_S = 0.010
RECOVERY_S = 2.0
GROWN_BYTES = 8e6
_FUNCTIONS = {"busy": {"memory": "100MB", "max_queue": 32}}
_CALLERS = 8
_VALUES = 16
_TIMEOUT_S = 5.0
_IN_A_ROW = 10
"""So many answers in a row, none slower than twice the median alone or than its slowest hundredth, are a
recovery."""
_RECOVERED = 2.0
_RECOVERY_WAIT_S = 15.0


def run(options: Options, folder: Path, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Raises RuntimeError when the server or the deploy fails."""
    found = uvloop.run(_measure(options, folder / "ground", tell))
    outcomes: list[Outcome] = found["outcomes"]
    answered, refused = latencies(outcomes), latencies(outcomes, "refused")
    memory = found["memory"]
    grown_bytes = sum(memory_growth(samples) for samples in memory.values())
    capacity = (found["capacity"] + found["capacity_after"]) / 2
    goodput = len(answered) / found["duration_s"]
    alone = found["alone"]
    rows = [
        {"scenario": "overload: alone", **_facts(alone, found["alone_s"]), "capacity_per_s": capacity,
         "capacity_before_per_s": found["capacity"], "capacity_after_per_s": found["capacity_after"]},
        {"scenario": "overload", **_facts(outcomes, found["duration_s"]), "goodput_per_s": goodput,
         "offered_per_s": len(outcomes) / found["duration_s"], "recovery_s": found["recovery_s"],
         "refusal_p50_s": quantile(refused, 0.5), "refusal_p99_s": quantile(refused, 0.99),
         "memory_bytes_start": sum(each[0].memory_bytes for each in memory.values()),
         "memory_bytes_end": sum(each[-1].memory_bytes for each in memory.values()),
         "grown_bytes": grown_bytes,
         "descriptors_grown": sum(descriptor_growth(each) for each in memory.values())},
    ]  # fmt: skip
    silent = sum(outcome.kind == "refused" and not outcome.retry_after for outcome in outcomes)
    sound = [
        claim("overload: wrong answers", count([*alone, *outcomes, *found["late"]], "wrong"), "at most", 0),
        claim("overload: neither answered nor refused", _odd(outcomes + found["late"]), "at most", 0),
        claim("overload: refusals without Retry-After", silent, "at most", 0),
        claim("overload: refusals", len(refused), "at least", 1),
    ]
    if options.quick:
        return rows, sound
    return rows, [
        *sound,
        claim("overload: goodput / capacity", goodput / capacity, "at least", GOODPUT),
        claim("overload: median refusal_s", quantile(refused, 0.5), "at most", REFUSAL_S),
        claim("overload: server and agent grew by_bytes", grown_bytes, "at most", GROWN_BYTES),
        claim("overload: recovery_s", found["recovery_s"], "at most", RECOVERY_S),
    ]


async def _measure(options: Options, folder: Path, tell: Tell) -> dict[str, Any]:
    rng, rounds = rng_for(options.seed, 10), rounds_of(options.request_s)
    # A worker with one thread leaves a processor to the server and to the load.
    ground = Ground(folder, options.budget_bytes, ("--threads", "1"))
    deployer = Deployer(ground, _FUNCTIONS)
    caller = Caller(ground.address)

    async def send() -> Outcome:
        value = rng.randrange(_VALUES)
        return await caller.call(
            "busy", {"value": value, "rounds": rounds},
            lambda answer: deployer.is_right("busy", value, rounds, answer), timeout_s=_TIMEOUT_S,
        )  # fmt: skip

    async def capacity() -> float:
        outcomes, took_s = await closed_loop(_CALLERS, options.capacity_s, send)
        return count(outcomes, "ok") / took_s

    try:
        await asyncio.to_thread(ground.start)
        await asyncio.to_thread(deployer.deploy, *_FUNCTIONS)
        if lost := await asyncio.to_thread(deployer.settle, 60.0):
            raise RuntimeError("; ".join(lost))
        for value in range(_VALUES):  # right answers are worked out once, before anything is measured
            deployer.is_right("busy", value, rounds, (1, ""))
        tell("overload: alone")
        alone, alone_s = await closed_loop(1, options.capacity_s, send)
        tell("overload: the capacity")
        before = await capacity()
        tell(f"overload: {options.overload_factor:.0f} times {before:.0f} requests a second")
        load = Load(options.overload_factor * before, rng_for(options.seed, 11), send)
        async with Watch(ground.lasting, 0.5) as watch:
            start_s = time.monotonic()
            load.start()
            await asyncio.sleep(options.overload_s)
            during = list(load.outcomes)
            duration_s = time.monotonic() - start_s
            usual = latencies(alone)
            usual_s = max(_RECOVERED * quantile(usual, 0.5), quantile(usual, 0.99))
            recovering = asyncio.create_task(_recovery(send, usual_s))
            outcomes = await load.stop()
            recovery_s = await recovering
        tell("overload: the capacity afterwards")
        return {
            "alone": alone, "alone_s": alone_s, "capacity": before, "capacity_after": await capacity(),
            "outcomes": during, "duration_s": duration_s, "late": outcomes[len(during) :],
            "recovery_s": recovery_s, "memory": watch.samples,
        }  # fmt: skip
    finally:
        caller.close()
        await asyncio.to_thread(ground.stop)


async def _recovery(send: Callable[[], Awaitable[Outcome]], usual_s: float) -> float:
    """Seconds until the first of _IN_A_ROW probes that were answered as if nothing had been."""
    start_s = time.monotonic()
    since_s, good = start_s, 0
    while good < _IN_A_ROW and time.monotonic() - start_s < _RECOVERY_WAIT_S:
        sent_s = time.monotonic()
        outcome = await send()
        if outcome.kind == "ok" and outcome.took_s <= usual_s:
            since_s, good = (sent_s, 1) if not good else (since_s, good + 1)
        else:
            good = 0
    return since_s - start_s if good >= _IN_A_ROW else _RECOVERY_WAIT_S


def _facts(outcomes: list[Outcome], duration_s: float) -> dict[str, Any]:
    answered = latencies(outcomes)
    return {
        "duration_s": duration_s, "requests": len(outcomes), "answered": len(answered),
        "errors_by_kind": errors_by_kind(outcomes), "wrong": count(outcomes, "wrong"),
        "lost": count(outcomes, "broken", "hanging", "unreachable"),
        "p50_s": quantile(answered, 0.5), "p99_s": quantile(answered, 0.99),
    }  # fmt: skip


def _odd(outcomes: list[Outcome]) -> int:
    return count(outcomes, "failed", "broken", "hanging", "unreachable")
