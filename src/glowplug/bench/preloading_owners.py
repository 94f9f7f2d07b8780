"""Part `lent` of `preloading`: memory full of what was loaded ahead, and owners who come for it.

Lenders are functions that are `always` loaded where memory is free, and that nobody calls; more of them than
fit. Owners stand on the disk. Again and again one of them is called: its climb has to wait until as much as
it needs is taken from lenders. Afterwards it is sent down again, and lenders take the room. How long each
climb waited says the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bench import preloading_twin
from glowplug.bench.endurance_load import Caller, Outcome, count, quantile
from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.live_calls import caller_of
from glowplug.bench.live_models import redeclare
from glowplug.bench.preloading_lent import admissions
from glowplug.bench.result import Claim, claim
from glowplug.bench.scheduling_twin import LiveRun
from glowplug.bench.workloads import TailModel, tail_answers, tail_models, write_tail

_LENDERS, _OWNERS = 5, 2
_VALUE = 0.5
_CLOSE = 1e-3
_DEPLOY_BYTES = 12 * 10**9
COLUMNS = (
    "system", "requests", "wrong", "failed", "cases", "climbing", "back_p50_s", "back_p95_s", "back_max_s",
    "used", "wasted",
)  # fmt: skip


class OwnersOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Every `every_s` an owner comes, for `minutes`; each model has `model_bytes`."""

    minutes: float = 2.0
    every_s: float = 1.5
    model_bytes: int = 400 * 10**6
    budget_bytes: int = 2 * 10**9
    timeout_s: float = 60.0
    seed: int = 1


def rows(options: OwnersOptions, folder: Path, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row. Raises RuntimeError when a server or a deploy fails."""
    models = tail_models(_LENDERS + _OWNERS, options.model_bytes, options.model_bytes, options.seed)
    source, state = write_tail(models, folder), folder / "state"
    redeclare(
        source,
        {
            "preload": f'"always" if number < {_LENDERS} else "auto"', "keep_warm": '"10m"',
            "libraries": '["torch", "numpy"]', "memory": '"2GB"',
        },
    )  # fmt: skip
    with running_server([source], state, _DEPLOY_BYTES) as server:
        server.wait_deployed(len(models), lambda ready: tell(f"lent: {ready} of {len(models)} are deployed"))
    preloading_twin.take_journal(state)
    preloading_twin.forget_weights(state / "packs")
    owners = models[_LENDERS:]
    share = ("--preload-cpu-share", "1")
    with running_server([], state, options.budget_bytes, share) as server:
        server.wait_deployed(len(models))
        tell(f"lent: an owner every {options.every_s:g} s, {options.minutes:g} minutes")
        outcomes = asyncio.run(_come(options, server, owners, tail_answers(owners, _VALUE)))
        server.check_alive()
        preload = server.preloads()
    return [_row(outcomes, preload) | back(preloading_twin.take_journal(state))]


def back(run: LiveRun) -> dict[str, Any]:
    """Of all climbs for which something was taken that had been loaded ahead, or was being."""
    lent = [each for each in admissions(run) if each.lent]
    waits_s = sorted(each.wait_s for each in lent)
    return {
        "cases": len(waits_s), "climbing": sum(each.climbing for each in lent),
        "back_p50_s": quantile(waits_s, 0.5), "back_p95_s": quantile(waits_s, 0.95),
        "back_max_s": max(waits_s, default=0.0),
    }  # fmt: skip


def claims(found: list[dict[str, Any]]) -> list[Claim]:
    return [
        claim("lent: times that memory was taken back", min(row["cases"] for row in found), "at least", 50),
        claim("lent: p95 until it is back, s", max(row["back_p95_s"] for row in found), "at most", 0.05),
        claim("lent: wrong answers", sum(row["wrong"] for row in found), "at most", 0),
        claim("lent: requests lost", sum(row["failed"] for row in found), "at most", 0),
    ]


def _row(outcomes: list[Outcome], preload: dict[str, Any]) -> dict[str, Any]:
    good, wrong = count(outcomes, "ok"), count(outcomes, "wrong")
    return {
        "part": "lent", "system": "always", "requests": len(outcomes), "wrong": wrong,
        "failed": len(outcomes) - good - wrong, "used": preload["used"], "wasted": preload["wasted"],
    }  # fmt: skip


async def _come(
    options: OwnersOptions, server: RunningServer, owners: list[TailModel], right: dict[str, float]
) -> list[Outcome]:
    """Each in its turn, from the disk."""
    outcomes: list[Outcome] = []
    for owner in owners:
        await asyncio.to_thread(server.stand_at, owner.function, "local", "cold")
    with caller_of(server) as caller:
        start_s = time.monotonic()
        while (due_s := start_s + len(outcomes) * options.every_s) < start_s + 60 * options.minutes:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            owner = owners[len(outcomes) % len(owners)]
            outcomes.append(await _ask(caller, owner.function, right[owner.function], options.timeout_s))
            await asyncio.to_thread(server.stand_at, owner.function, "local", "cold")
    return outcomes


async def _ask(caller: Caller, function: str, right: float, timeout_s: float) -> Outcome:
    def is_right(answer: Any) -> bool:
        return abs(answer - right) <= _CLOSE * max(1.0, abs(right))

    return await caller.call(function, {"value": _VALUE}, is_right, timeout_s=timeout_s)
