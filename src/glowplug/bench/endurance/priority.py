"""Part `priority`: `interactive` requests one after another, alone and beside plenty of `background` work.

Twice: `other functions` has the background work done by two other functions, which alone would keep two
processors busy; `same function` has both classes meet in one queue, where background requests are a tenth
as long, for what runs already is not interrupted. Alone and beside alternate, so that a noisy machine harms
both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from glowplug.bench.endurance.deploys import Deployer
from glowplug.bench.endurance.ground import Ground
from glowplug.bench.endurance.options import Options, Tell
from glowplug.bench.live.load import Caller, Outcome, count, errors_by_kind, latencies, quantile
from glowplug.bench.result import Claim, claim
from glowplug.bench.workloads import rounds_of
from glowplug.core.priority import PriorityLabel

TIMES_ALONE = 1.3
_FUNCTIONS: dict[str, dict[str, Any]] = {
    "asked": {"memory": "100MB"},
    "crowd-0": {"memory": "100MB", "priority": "background"},
    "crowd-1": {"memory": "100MB", "priority": "background"},
}
_CROWD = 8
"""Background requests in flight at each function of the crowd."""
_TIMEOUT_S = 60.0
"""Long, for nobody is sooner than the kernel lets a background process be on a machine that is busy."""
_VALUES = 16


def run(options: Options, folder: Path, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Raises RuntimeError when the server or the deploy fails."""
    found = uvloop.run(_measure(options, folder / "ground", tell))
    rows, claims = [], []
    everything = [outcome for outcomes in found.values() for outcome in outcomes]
    for case in ("other functions", "same function"):
        alone, beside = found[case, "alone"], found[case, "beside"]
        ratio = _median(beside) / max(_median(alone), 1e-9)
        rows += [
            {"scenario": f"priority, {case}: alone", **_facts(alone)},
            {"scenario": f"priority, {case}", **_facts(beside), "ratio_to_alone": ratio,
             "background_answered": count(found[case, "background"], "ok")},
        ]  # fmt: skip
        if not options.quick:
            claims.append(claim(f"priority, {case}: latency / alone", ratio, "at most", TIMES_ALONE))
    odd = len(everything) - count(everything, "ok")
    return rows, [*claims, claim("priority: anything but right answers", odd, "at most", 0)]


async def _measure(options: Options, folder: Path, tell: Tell) -> dict[tuple[str, str], list[Outcome]]:
    rounds = rounds_of(options.request_s)
    ground = Ground(folder, options.budget_bytes, ("--threads", "1"))
    deployer = Deployer(ground, _FUNCTIONS)
    caller = Caller(ground.address)

    def asking(name: str, priority: PriorityLabel, rounds: int) -> Callable[[], Awaitable[Outcome]]:
        value = 0

        async def send() -> Outcome:
            nonlocal value
            value = (value + 1) % _VALUES
            asked = value
            return await caller.call(
                name, {"value": asked, "rounds": rounds},
                lambda answer: deployer.is_right(name, asked, rounds, answer),
                timeout_s=_TIMEOUT_S, priority=priority,
            )  # fmt: skip

        return send

    interactive = asking("asked", "interactive", rounds)
    short = max(1, rounds // 10)
    crowds = {
        "other functions": [asking(name, "background", rounds) for name in ("crowd-0", "crowd-1")],
        "same function": [asking("asked", "background", short)],
    }
    found: dict[tuple[str, str], list[Outcome]] = {}
    try:
        await asyncio.to_thread(ground.start)
        await asyncio.to_thread(deployer.deploy, *_FUNCTIONS)
        if lost := await asyncio.to_thread(deployer.settle, 60.0):
            raise RuntimeError("; ".join(lost))
        for each in (*(one for crowd in crowds.values() for one in crowd), interactive):
            for _ in range(_VALUES):  # everyone parked, and each right answer worked out once
                await each()
        for number in range(options.priority_rounds):
            for case, crowd in crowds.items():
                tell(f"priority: {case}, {number + 1} of {options.priority_rounds}")
                share = -(-options.priority_requests // options.priority_rounds)
                found.setdefault((case, "alone"), []).extend([await interactive() for _ in range(share)])
                beside, background = await _beside(interactive, crowd, share)
                found.setdefault((case, "beside"), []).extend(beside)
                found.setdefault((case, "background"), []).extend(background)
    finally:
        caller.close()
        await asyncio.to_thread(ground.stop)
    return found


async def _beside(
    interactive: Callable[[], Awaitable[Outcome]], crowd: list[Callable[[], Awaitable[Outcome]]], count: int
) -> tuple[list[Outcome], list[Outcome]]:
    """`count` interactive requests one after another while the crowd asks without a pause."""
    over = asyncio.Event()
    background: list[Outcome] = []

    async def crowding(send: Callable[[], Awaitable[Outcome]]) -> None:
        while not over.is_set():
            background.append(await send())

    tasks = [asyncio.create_task(crowding(send)) for send in crowd for _ in range(_CROWD)]
    while not background:  # the crowd is there
        await asyncio.sleep(0.01)
    beside = [await interactive() for _ in range(count)]
    over.set()
    await asyncio.gather(*tasks)
    return beside, background


def _median(outcomes: list[Outcome]) -> float:
    return quantile(latencies(outcomes), 0.5)


def _facts(outcomes: list[Outcome]) -> dict[str, Any]:
    answered = latencies(outcomes)
    return {
        "duration_s": sum(outcome.took_s for outcome in outcomes), "requests": len(outcomes),
        "errors_by_kind": errors_by_kind(outcomes), "wrong": count(outcomes, "wrong"),
        "lost": count(outcomes, "broken", "hanging", "unreachable"),
        "p50_s": quantile(answered, 0.5), "p99_s": quantile(answered, 0.99),
    }  # fmt: skip
