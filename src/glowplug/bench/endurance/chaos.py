"""Seeded bad luck for `kills` and `soak`: a deck of deeds, dealt one after another while the load runs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from glowplug.bench.endurance.deploys import Deployer
from glowplug.bench.endurance.ground import Ground, Victim
from glowplug.bench.live.load import Caller, Load, Outcome
from glowplug.core.rng import Rng

FUNCTIONS: dict[str, dict[str, Any]] = {
    "plain": {"memory": "100MB", "max_queue": 50},
    "other": {"memory": "100MB", "max_queue": 50, "idempotent": True},
    "numeric": {"memory": "200MB", "libraries": ["numpy"], "max_queue": 50, "idempotent": True},
    "carded": {"memory": "100MB", "device": "gpu", "device_memory": "100MB", "max_queue": 50},
}
"""Three of one environment, of which one computes on a device, and one of another. Two may answer a call
twice."""
OPTIONS = ("--devices", "virtual:1x1GB@20GB/s,context=10MB/20ms")
"""Of the server. A process that has the device's context waits for the next function."""
_PATIENCE_S = 20.0
_ABSENT_S = 2.0
_MADE_BY_KILLING: dict[Victim, Victim] = {
    "function": "worker",
    "standby": "environment",
    "context": "worker",
}
"""A function is staged again after its worker had to come from the environment; an interpreter is put in
reserve after an environment has begun, a context made ready after one was taken. So where none is found for a
while, one of those is killed first."""
_LOOK_S = 0.01
_VALUES = 50
_BIG_SHARE, _BIG_BYTES = 0.2, 300_000


class Chaos:
    """Deeds on one ground under one load. `kills` counts the processes killed by kind, `spared` the kills
    that found nobody of their kind in time."""

    def __init__(self, ground: Ground, deployer: Deployer, rng: Rng) -> None:
        self._ground, self._deployer, self._rng = ground, deployer, rng
        self.kills: Counter[str] = Counter()
        self.spared: Counter[str] = Counter()
        self.deeds: Counter[str] = Counter()

    async def kill(self, kind: Victim) -> None:
        """Kills one process of that kind, as soon as there is one. A build is begun where none runs. A server
        is started again at once, as a service manager would."""
        start_s = time.monotonic()
        deadline_s, killed_s = start_s + _PATIENCE_S, start_s
        begun: asyncio.Task[bool] | None = None
        while not self._kill_one(kind):
            if kind == "build" and (begun is None or begun.done()):
                begun = asyncio.create_task(self.deploy())
            if kind in _MADE_BY_KILLING and time.monotonic() - killed_s > _ABSENT_S:
                self._kill_one(_MADE_BY_KILLING[kind])
                killed_s = time.monotonic()
            if time.monotonic() > deadline_s:
                self.spared[kind] += 1
                break
            await asyncio.sleep(_LOOK_S)
        if begun is not None:
            await begun
        if kind == "server":
            await asyncio.to_thread(self._ground.start)

    def _kill_one(self, kind: Victim) -> bool:
        """Whether there was one."""
        victims = self._ground.victims(kind)
        found = bool(victims) and self._ground.kill(self._rng.choice(victims))
        self.kills[kind] += found
        return found

    async def deploy(self) -> bool:
        self.deeds["deploy"] += 1
        return await asyncio.to_thread(self._deployer.deploy, self._rng.choice(sorted(FUNCTIONS)))

    async def roll_back(self) -> bool:
        self.deeds["rollback"] += 1
        return await asyncio.to_thread(
            self._deployer.roll_back, self._rng.choice(sorted(FUNCTIONS)), self._rng
        )


def deck(kinds: Sequence[Victim], count: int, rng: Rng) -> list[Victim]:
    """`count` kinds in a seeded order, each as often as any other, but for one."""
    dealt = [kinds[number % len(kinds)] for number in range(count)]
    rng.shuffle(dealt)
    return dealt


def mixed_load(caller: Caller, deployer: Deployer, rate: float, rng: Rng) -> Load:
    """Requests for all of FUNCTIONS, each checked against the versions that there were. Some have big bodies,
    which travel in shared memory."""
    names = sorted(FUNCTIONS)

    async def send() -> Outcome:
        name, value = rng.choice(names), rng.randrange(_VALUES)
        blanks = _BIG_BYTES if rng.random() < _BIG_SHARE else 0
        return await caller.call(
            name, {"value": value}, lambda answer: deployer.is_right(name, value, 1, answer), blanks=blanks
        )

    return Load(rate, rng, send)
