"""Spawned calls under `kills`: handed in while processes die, and asked for when everything has returned.

A call is acknowledged when `spawn` returned. From then on it may not vanish, must end, and may end only as
the server promises (docs/decisions/024).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from glowplug.bench.endurance.deploys import Deployer
from glowplug.bench.endurance.ground import Ground
from glowplug.client import Client
from glowplug.core.calls import ENDED, CallRecord
from glowplug.core.errors import GlowplugError, Unavailable, UnknownCall
from glowplug.core.rng import Rng

_POLL_S = 0.1
_VALUES = 50
_MOST_TOLD = 20


class _Spawned(msgspec.Struct):
    call: str
    function: str
    value: int


class Spawner:
    """Spawns a call for one of `functions` every `gap_s`, on the average, until it is stopped."""

    def __init__(
        self,
        ground: Ground,
        deployer: Deployer,
        functions: Mapping[str, Mapping[str, Any]],
        gap_s: float,
        rng: Rng,
    ) -> None:
        self._ground, self._deployer, self._functions = ground, deployer, functions
        self._gap_s, self._rng = gap_s, rng
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._acknowledged: list[_Spawned] = []
        self.ends: Counter[str] = Counter()
        """States that acknowledged calls ended in, once `broken` has asked."""

    @property
    def acknowledged(self) -> int:
        return len(self._acknowledged)

    def start(self) -> None:
        self._task = asyncio.create_task(self._spawn_until_stopped())

    async def stop(self) -> None:
        self._stopped.set()
        if self._task is not None:
            await self._task

    def broken(self, within_s: float) -> list[str]:
        """Which promises about acknowledged calls do not hold, when those that run had so long to end."""
        deadline_s = time.monotonic() + within_s
        found: list[str] = []
        for each in self._acknowledged:
            try:
                why = self._broken(each, deadline_s)
            except UnknownCall:
                why = "is not known any more"
            if why:
                found.append(f"call {each.call} of {each.function} {why}")
        return found[:_MOST_TOLD]

    async def _spawn_until_stopped(self) -> None:
        while not self._stopped.is_set():
            function, value = self._rng.choice(sorted(self._functions)), self._rng.randrange(_VALUES)
            await asyncio.to_thread(self._spawn, function, value)
            try:
                async with asyncio.timeout(self._rng.expovariate(1 / self._gap_s)):
                    await self._stopped.wait()
            except TimeoutError:
                continue

    def _spawn(self, function: str, value: int) -> None:
        client = self._ground.client
        if client is None:
            return
        try:
            call = client.spawn(function, {"value": value})
        except GlowplugError:
            return  # not acknowledged: whether it was taken is nobody's promise
        self._acknowledged.append(_Spawned(call.id, function, value))

    def _broken(self, each: _Spawned, deadline_s: float) -> str:
        record = self._ended(each.call, deadline_s)
        if record is None:
            return "has not ended"
        self.ends[record.state] += 1
        if record.state == "done":
            answer = self._client().call_result(each.call)
            right = answer is not None and self._deployer.is_right(
                each.function, each.value, 1, answer.value()
            )
            return "" if right else f"was answered wrongly: {answer and answer.value()}"
        if record.idempotent == (record.state == "lost") or record.state not in ("lost", "dead"):
            return f"ended as {record.state}: {record.error}"
        return ""

    def _ended(self, call: str, deadline_s: float) -> CallRecord | None:
        while True:
            try:
                record = self._client().call_status(call)
            except Unavailable:  # a connection that was kept may be to a gateway that was killed
                record = None
            if record is not None and record.state in ENDED:
                return record
            if time.monotonic() > deadline_s:
                return None
            time.sleep(_POLL_S)

    def _client(self) -> Client:
        client = self._ground.client
        if client is None:
            raise Unavailable("the server is being started")
        return client
