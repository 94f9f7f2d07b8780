"""What each function's answers take on a server where nothing else runs, by the step they start from."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence

import msgspec

from glowplug.bench.harness import RunningServer
from glowplug.bench.live.calls import caller_of
from glowplug.bench.live.load import Caller
from glowplug.bench.live.models import Served

_STARTS = (("cold", "imported", "cold"), ("imported", "imported", "warm"), ("staged", "staged", "warm"))
_WARM_CALLS = 4
_TIMEOUT_S = 120.0
_BETWEEN_S = 0.5
"""So that the zygote is up that is made after an answer."""
REST_S = 30.0
"""The host of a virtual machine has most of what was let go back by then."""


class Measured(msgspec.Struct, frozen=True):
    """A function's answers as its callers saw them, one at a time, medians of seconds: from a parked worker,
    from its zygote, from the libraries' zygote, and from there with its weights on the disk alone, where they
    come to memory that was let go just now and (`rested_s`) to such that nobody had for a while. `varies` is
    the share by which `cold_s` of each round lie from their median, on average."""

    run_s: float
    staged_s: float
    imported_s: float
    cold_s: float
    rested_s: float
    varies: float = 0.0


def measure(server: RunningServer, served: Sequence[Served], rounds: int) -> dict[str, Measured]:
    """By function. Raises RuntimeError for an answer that is not right."""
    return asyncio.run(_measure(server, served, rounds))


async def _measure(server: RunningServer, served: Sequence[Served], rounds: int) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    with caller_of(server) as caller:
        rested = [await _rested(server, caller, served) for _ in range(rounds)]
        for each in served:
            took: dict[str, list[float]] = {"run": [], "staged": [], "imported": [], "cold": []}
            for _ in range(rounds):
                for name, step, cache in _STARTS:
                    await asyncio.to_thread(server.stand_at, each.function, step, cache)
                    took[name].append(await _ask(caller, each))
                took["run"] += [await _ask(caller, each) for _ in range(_WARM_CALLS)]
            run_s, staged_s, imported_s, cold_s = (
                statistics.median(took[name]) for name in ("run", "staged", "imported", "cold")
            )
            varies = statistics.mean(abs(took_s / cold_s - 1) for took_s in took["cold"])
            rested_s = statistics.median(round_s[each.function] for round_s in rested)
            found[each.function] = Measured(run_s, staged_s, imported_s, cold_s, rested_s, varies)
    return found


async def _rested(server: RunningServer, caller: Caller, served: Sequence[Served]) -> dict[str, float]:
    """Seconds by function. All are let go, and called one after the other some time later."""
    for each in served:
        await asyncio.to_thread(server.stand_at, each.function, "imported", "cold")
    await asyncio.sleep(REST_S)
    found = {}
    for each in served:
        found[each.function] = await _ask(caller, each)
        await asyncio.to_thread(server.wait_staged, each.function)
    return found


def displace(server: RunningServer, served: Sequence[Served], rounds: int) -> None:
    """Calls one function after the other, so that each takes its memory from those before it: how long that
    takes when nothing else runs is in the journal then. Raises RuntimeError for an answer that is not
    right."""
    asyncio.run(_displace(server, served, rounds))


async def _displace(server: RunningServer, served: Sequence[Served], rounds: int) -> None:
    with caller_of(server) as caller:
        for each in [*served] * rounds:
            await _ask(caller, each)
            await asyncio.sleep(_BETWEEN_S)


async def _ask(caller: Caller, each: Served) -> float:
    """Seconds."""
    outcome = await caller.call(
        each.function, each.requests[0], lambda answer: each.is_right(0, answer), timeout_s=_TIMEOUT_S
    )
    if outcome.kind != "ok":
        raise RuntimeError(f"{each.function}: {outcome.kind} {outcome.code}")
    return outcome.took_s
