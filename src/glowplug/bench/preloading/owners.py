"""Part `lent` of `preloading`: memory full of what was loaded ahead, and an owner who comes for it.

Lenders are functions that are `always` loaded where memory is free, and that nobody calls; more of them than
fit. Again and again the owner is called, which holds more than any lender: its climb has to wait until as
much as it lacks is taken from lenders. Afterwards it is sent down, and lenders take the room again. How long
each climb waited says the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.live.calls import caller_of
from glowplug.bench.live.load import Outcome, count, quantile
from glowplug.bench.live.models import redeclare
from glowplug.bench.live.twin import LiveRun, take_journal
from glowplug.bench.preloading import twin
from glowplug.bench.preloading.lent import admissions
from glowplug.bench.result import Claim, claim
from glowplug.bench.workloads import tail_models, write_tail

_LENDERS = 5
_DEPLOY_BYTES = 12 * 10**9
_LIBRARIES = '["torch", "numpy"]'
_OWNER = '''"""Holds memory of its own, and is loaded anew for each call. Written by an experiment."""

import os
import threading

import glowplug

app = glowplug.App("owner")


@app.model(libraries={libraries}, memory="2GB", keep_warm="10m")
class Owner:
    def setup(self):
        threading.Thread(target=threading.Event().wait, daemon=True).start()  # so that it is not staged
        self.held = os.urandom(1 << 16) * ({held_bytes} >> 16)

    @glowplug.endpoint
    def answer(self, value: int) -> int:
        return value
'''
COLUMNS = (
    "system", "requests", "wrong", "failed", "cases", "climbing", "back_p50_s", "back_p95_s", "back_max_s",
    "started", "wasted",
)  # fmt: skip


class OwnersOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Every `every_s` the owner is called, for `minutes`. A lender's weights have `lender_bytes`."""

    minutes: float = 2.0
    every_s: float = 1.5
    lender_bytes: int = 400 * 10**6
    owner_bytes: int = 480 * 10**6
    budget_bytes: int = 2 * 10**9
    timeout_s: float = 60.0
    seed: int = 1


def rows(options: OwnersOptions, folder: Path, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row. Raises RuntimeError when a server or a deploy fails."""
    state, owner = folder / "state", folder / "owner_app.py"
    lenders = write_tail(
        tail_models(_LENDERS, options.lender_bytes, options.lender_bytes, options.seed), folder
    )
    redeclare(lenders, {"preload": '"always"', "libraries": _LIBRARIES, "memory": '"2GB"'})
    owner.write_text(_OWNER.format(libraries=_LIBRARIES, held_bytes=options.owner_bytes), encoding="utf-8")
    functions = _LENDERS + 1
    with running_server([lenders, owner], state, _DEPLOY_BYTES) as server:
        server.wait_deployed(functions, lambda ready: tell(f"lent: {ready} of {functions} are deployed"))
    take_journal(state)
    twin.forget_weights(state / "packs")
    with running_server([], state, options.budget_bytes, ("--preload-cpu-share", "1")) as server:
        server.wait_deployed(functions)
        tell(f"lent: the owner comes every {options.every_s:g} s, {options.minutes:g} minutes")
        outcomes = asyncio.run(_come(options, server))
        server.check_alive()
        preload = server.preloads()
    return [_row(outcomes, preload) | back(take_journal(state))]


def back(run: LiveRun) -> dict[str, Any]:
    """Of all climbs for which something was taken that had been loaded ahead, or was being: `climbing`."""
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
        "failed": len(outcomes) - good - wrong, "started": preload["started"], "wasted": preload["wasted"],
    }  # fmt: skip


async def _come(options: OwnersOptions, server: RunningServer) -> list[Outcome]:
    """The owner's calls, each from where the libraries' zygote stands."""
    outcomes: list[Outcome] = []
    with caller_of(server) as caller:
        start_s = time.monotonic()
        while (due_s := start_s + len(outcomes) * options.every_s) < start_s + 60 * options.minutes:
            await asyncio.to_thread(server.stand_at, "owner", "imported")
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            number = len(outcomes)
            outcomes.append(
                await caller.call(
                    "owner", {"value": number}, number.__eq__, timeout_s=options.timeout_s
                )
            )  # fmt: skip
    return outcomes
