"""Part `soak`: half an hour of mixed traffic, deploys, roll-backs and kills; nothing may grow or be wrong.

Server and agent live through all of it, so that what they hold can be seen to stay flat; that they are killed
too is part `kills`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import uvloop

from glowplug.bench.endurance.chaos import FUNCTIONS, OPTIONS, Chaos, mixed_load
from glowplug.bench.endurance.deploys import Deployer
from glowplug.bench.endurance.ground import Ground, Victim
from glowplug.bench.endurance.kills import SETTLE_S, aftermath, facts
from glowplug.bench.endurance.options import Options, Tell
from glowplug.bench.endurance.watch import Sample, Watch, memory_growth, sample
from glowplug.bench.live.load import Caller, Outcome
from glowplug.bench.result import Claim, claim
from glowplug.bench.systems.processes import descendants
from glowplug.core.rng import rng_for

GROWN_BYTES = {"server": 8e6, "agent": 4e6}
DESCRIPTORS_GROWN = 2
"""Counted at rest, when nothing but a database or a log may be open or not."""
_REST_S = 2.0
_PER_PROCESS = 4
"""Of the agent's descriptors: a socket, a pidfd and two pipes."""
_KILLED: tuple[Victim, ...] = ("worker", "function", "environment", "build")
_DEEDS = (*_KILLED, "deploy", "deploy", "rollback")
_GAP_S = 4.0
"""The longest pause between two deeds."""
_UNDISTURBED = 0.05
"""The share of the time before the first deed: the same load, unstressed."""


def run(options: Options, folder: Path, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Raises RuntimeError when the server or the first deploy fails."""
    found = uvloop.run(_soak(options, folder / "ground", tell))
    before: list[Outcome] = found.pop("before")
    outcomes: list[Outcome] = found.pop("outcomes")
    samples: dict[str, list[Sample]] = found.pop("samples")
    row = {"scenario": "soak", **facts(outcomes), **found}
    claims = [
        claim("soak: wrong answers", row["wrong"], "at most", 0),
        claim("soak: requests that hung or broke", row["lost"], "at most", 0),
        claim("soak: errors that no kill excuses", row["defects"], "at most", 0),
        claim("soak: acknowledged deploys lost", len(row["lost_deploys"]), "at most", 0),
        claim("soak: processes and files left behind", len(row["left_behind"]), "at most", 0),
        claim("soak: deeds", sum(row["deeds"].values()), "at least", 1),
    ]
    for name, target_bytes in GROWN_BYTES.items():
        of = samples[name]
        row[f"{name}_grown_bytes"] = memory_growth(of)
        grown = row["at_rest_after"][name] - row["at_rest_before"][name]
        row[f"{name}_descriptors_grown"] = grown
        claims.append(
            claim(f"soak: {name}'s descriptors at rest grew by", grown, "at most", DESCRIPTORS_GROWN)
        )
        row[f"{name}_samples"] = [
            (each.at_s - of[0].at_s, each.memory_bytes, each.descriptors) for each in of
        ]
        if not options.quick:
            grown_bytes = row[f"{name}_grown_bytes"]
            claims.append(claim(f"soak: {name} grew by_bytes", grown_bytes, "at most", target_bytes))
    for end, place in (("start", 0), ("end", -1)):
        row[f"memory_bytes_{end}"] = sum(of[place].memory_bytes for of in samples.values())
    return [{"scenario": "soak: before the deeds", **facts(before)}, row], claims


async def _soak(options: Options, folder: Path, tell: Tell) -> dict[str, Any]:
    rng = rng_for(options.seed, 20)
    ground = Ground(folder, options.budget_bytes, OPTIONS)
    deployer = Deployer(ground, FUNCTIONS)
    chaos = Chaos(ground, deployer, rng_for(options.seed, 21))
    caller = Caller(ground.address)
    try:
        await asyncio.to_thread(ground.start)
        await asyncio.to_thread(deployer.deploy, *FUNCTIONS)
        if lost := await asyncio.to_thread(deployer.settle, SETTLE_S):
            raise RuntimeError("; ".join(lost))
        at_rest_before = await asyncio.to_thread(_descriptors_at_rest, ground)
        load = mixed_load(caller, deployer, options.chaos_rate, rng_for(options.seed, 22))
        start_s = time.monotonic()
        async with Watch(ground.lasting, max(0.1, options.soak_s / 1000)) as watch:
            load.start()
            await asyncio.sleep(_UNDISTURBED * options.soak_s)
            before = list(load.outcomes)
            while (passed_s := time.monotonic() - start_s) < options.soak_s:
                deed = rng.choice(_DEEDS)
                tell(f"soak: {passed_s:.0f} of {options.soak_s:.0f} s, {deed}")
                await _do(chaos, deed)
                gap_s = rng.uniform(0.0, min(_GAP_S, options.soak_s / 20))
                await asyncio.sleep(gap_s)
            outcomes = (await load.stop())[len(before) :]
            duration_s = time.monotonic() - start_s
        lost = await asyncio.to_thread(deployer.settle, SETTLE_S)
        caller.close()
        at_rest_after = await asyncio.to_thread(_descriptors_at_rest, ground)
        lost += await asyncio.to_thread(aftermath, ground, deployer)
    finally:
        caller.close()
        await asyncio.to_thread(ground.stop)
    left = await asyncio.to_thread(ground.left_behind)
    return {
        "before": before, "outcomes": outcomes, "samples": watch.samples, "duration_s": duration_s,
        "deeds": dict(chaos.deeds + chaos.kills), "spared": dict(chaos.spared),
        "deploys": deployer.acknowledged, "deploys_refused": deployer.refused,
        "lost_deploys": lost, "left_behind": left,
        "at_rest_before": at_rest_before, "at_rest_after": at_rest_after,
    }  # fmt: skip


def _descriptors_at_rest(ground: Ground) -> dict[str, int]:
    """What server and agent have open while nothing happens, without what they have for each process of a
    function: earlier versions may have their zygotes still. The median over a while."""
    assert ground.client is not None
    for name in FUNCTIONS:
        ground.client.descend(name, "imported")
    seen: dict[str, list[int]] = {}
    end_s = time.monotonic() + _REST_S
    while time.monotonic() < end_s:
        lasting = ground.lasting()
        for name, pid in lasting.items():
            found = sample(pid)
            below = len(descendants(pid)) if name == "agent" else 0
            if found is not None:
                seen.setdefault(name, []).append(found.descriptors - _PER_PROCESS * below)
        time.sleep(0.05)
    return {name: int(statistics.median(each)) for name, each in seen.items()}


async def _do(chaos: Chaos, deed: str) -> None:
    if deed == "deploy":
        await chaos.deploy()
    elif deed == "rollback":
        await chaos.roll_back()
    else:
        await chaos.kill(next(kind for kind in _KILLED if kind == deed))
