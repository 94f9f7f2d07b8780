"""Part `kills`: SIGKILL for every kind of process under load, in bounded runs, and what must not come of it.

Each run has a folder of its own, its share of the kills in a seeded order, and an end: the load stops, every
function must come back as it was acknowledged last, the server starts once more by itself and is ended, and
then nothing of it may run and nothing but its state may lie there.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop

from glowplug.bench.endurance.chaos import FUNCTIONS, OPTIONS, Chaos, deck, mixed_load
from glowplug.bench.endurance.deploys import Deployer
from glowplug.bench.endurance.ground import VICTIMS, WITH_GATEWAYS, Ground
from glowplug.bench.endurance.options import Options, Tell
from glowplug.bench.endurance.spawns import Spawner
from glowplug.bench.live.load import (
    Caller,
    Outcome,
    count,
    errors_by_kind,
    latencies,
    quantile,
)
from glowplug.bench.result import Claim, claim
from glowplug.core.rng import rng_for

SETTLE_S = 60.0
_SPAWN_GAP_S = 0.1
_ENDED_S = 180.0
"""Calls that were refused again and again wait up to a minute for their next attempt."""
_UNDISTURBED_S = 3.0
_DEFECTS = (
    "internal",
    "unknown_function",
    "unknown_version",
    "build_failed",
    "function_failed",
    "unreadable",
)
"""Errors that no kill excuses: the fault is ours, or something that was deployed is gone."""


def run(options: Options, folder: Path, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Raises RuntimeError when a server does not come up again."""
    runs = -(-options.kills // options.kills_per_run)
    found: list[dict[str, Any]] = []
    for number in range(runs):
        kills = min(options.kills_per_run, options.kills - number * options.kills_per_run)
        with tempfile.TemporaryDirectory(dir=folder) as ground:
            title = f"kills: run {number + 1} of {runs}"
            found.append(uvloop.run(_one(options, number, kills, Path(ground), title, tell)))
    row = _together(found)
    undisturbed = {
        "scenario": "kills: before them", "duration_s": sum(each["before_s"] for each in found),
        **facts([outcome for each in found for outcome in each["before"]]),
    }  # fmt: skip
    return [undisturbed, row], [
        claim("kills: processes killed", sum(row["kills"].values()), "at least", options.kills),
        claim("kills: wrong answers", row["wrong"], "at most", 0),
        claim("kills: requests that hung", row["hanging"], "at most", 0),
        claim("kills: errors that no kill excuses", row["defects"], "at most", 0),
        claim("kills: acknowledged deploys lost", len(row["lost_deploys"]), "at most", 0),
        claim("kills: spawned calls of which a promise was broken", len(row["broken_spawns"]), "at most", 0),
        claim("kills: processes and files left behind", len(row["left_behind"]), "at most", 0),
    ]


async def _one(
    options: Options, number: int, kills: int, folder: Path, title: str, tell: Tell
) -> dict[str, Any]:
    """One run."""
    rng = rng_for(options.seed, 1000 + number)
    ground = Ground(folder, options.budget_bytes, (*OPTIONS, "--gateways", str(options.gateways)))
    kinds = VICTIMS if options.gateways == 1 else WITH_GATEWAYS
    check_every = len(kinds) + 1  # after so many kills everything must return before the next one
    deployer = Deployer(ground, FUNCTIONS)
    chaos = Chaos(ground, deployer, rng_for(options.seed, 2000 + number))
    caller = Caller(ground.address)
    spawner = Spawner(ground, deployer, FUNCTIONS, _SPAWN_GAP_S, rng_for(options.seed, 4000 + number))
    try:
        await asyncio.to_thread(ground.start)
        await asyncio.to_thread(deployer.deploy, *FUNCTIONS)
        lost = await asyncio.to_thread(deployer.settle, SETTLE_S)
        if lost:
            raise RuntimeError(f"before any kill: {'; '.join(lost)}")
        load = mixed_load(caller, deployer, options.chaos_rate, rng_for(options.seed, 3000 + number))
        load_s = time.monotonic()
        load.start()
        await asyncio.sleep(min(_UNDISTURBED_S, options.kill_gap_s * kills))
        before, start_s = list(load.outcomes), time.monotonic()
        before_s = start_s - load_s
        spawner.start()
        for done, kind in enumerate(deck(kinds, kills, rng)):
            tell(f"{title}, kill {done + 1} of {kills}: {kind}")
            await asyncio.sleep(rng.uniform(0.0, options.kill_gap_s))
            await chaos.kill(kind)
            if (done + 1) % check_every == 0:
                lost += await asyncio.to_thread(deployer.settle, SETTLE_S)
        duration_s = time.monotonic() - start_s
        tell(f"{title}, the load ends")
        await spawner.stop()
        outcomes = (await load.stop())[len(before) :]
        tell(f"{title}, everything returns")
        lost += await asyncio.to_thread(deployer.settle, SETTLE_S)
        lost += await asyncio.to_thread(aftermath, ground, deployer)
        broken = await asyncio.to_thread(spawner.broken, _ENDED_S)
    finally:
        caller.close()
        await asyncio.to_thread(ground.stop)
    left = await asyncio.to_thread(ground.left_behind)
    return {
        "before": before, "before_s": before_s, "outcomes": outcomes, "duration_s": duration_s,
        "kills": chaos.kills, "spared": chaos.spared, "deploys": deployer.acknowledged,
        "deploys_refused": Counter(deployer.refused), "lost_deploys": lost, "left_behind": left,
        "spawned": spawner.acknowledged, "spawns_ended": spawner.ends, "broken_spawns": broken,
    }  # fmt: skip


def aftermath(ground: Ground, deployer: Deployer) -> list[str]:
    """Starts once more, which collects what nobody needs; returns what is lost then."""
    ground.start()
    return [f"after one more start, {each}" for each in deployer.settle(SETTLE_S)]


def _together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of all runs."""
    outcomes: list[Outcome] = [outcome for each in runs for outcome in each["outcomes"]]
    counters = {
        name: dict(sum((each[name] for each in runs), Counter()))
        for name in ("kills", "spared", "deploys_refused", "spawns_ended")
    }
    joined = {
        name: [one for each in runs for one in each[name]]
        for name in ("lost_deploys", "left_behind", "broken_spawns")
    }
    return {
        "scenario": "kills", "runs": len(runs), "duration_s": sum(each["duration_s"] for each in runs),
        "deploys": sum(each["deploys"] for each in runs), "spawned": sum(each["spawned"] for each in runs),
        **facts(outcomes), **counters, **joined,
    }  # fmt: skip


def facts(outcomes: list[Outcome]) -> dict[str, Any]:
    taken = latencies(outcomes)
    odd = [outcome for outcome in outcomes if outcome.kind == "wrong" or outcome.code in _DEFECTS]
    return {
        "requests": len(outcomes), "answered": len(taken), "errors_by_kind": errors_by_kind(outcomes),
        "wrong": count(outcomes, "wrong"), "hanging": count(outcomes, "hanging"),
        "lost": count(outcomes, "broken", "hanging"),
        "defects": sum(outcome.code in _DEFECTS for outcome in outcomes),
        "odd": [{"status": each.status, "code": each.code, "answer": each.answer} for each in odd[:20]],
        "p50_s": quantile(taken, 0.5), "p99_s": quantile(taken, 0.99),
    }  # fmt: skip
