"""A desk with everything around it that a test needs: functions that do what the test says, a clock that can
be put forward, and a folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import uvloop

from glowplug.calls.desk import CallDesk, SpawnRequest
from glowplug.calls.states import Outcome
from glowplug.core.calls import CallError, CallRecord
from glowplug.core.errors import BY_CODE
from glowplug.core.ids import FunctionId
from glowplug.core.settings import CallSettings

QUICK = CallSettings(backoff_s=0.005, max_backoff_s=0.02)
WAIT_S = 180.0


def failure(code: str, ran: bool = True) -> Outcome:
    return Outcome(ran, CallError(code, f"because {code}", BY_CODE[code].status))


def request(function: str = "f", **facts: object) -> SpawnRequest:
    given = {"content_type": "text/plain", "accept": "", "idempotent": True, "priority": 0, "endpoint": "e"}
    return SpawnRequest(function=FunctionId(f"{function}.default"), **{**given, **facts})  # type: ignore[arg-type]


class FakeFunctions:
    """Implements calls.runner.Dispatcher. Each run waits for `answer`, unless there is an answer ready."""

    def __init__(self) -> None:
        self.runs: list[tuple[CallRecord, bytes]] = []
        self.stopped: list[CallRecord] = []
        self.ready: list[Outcome] = []
        self.by_default: Outcome | None = Outcome(True, content_type="text/plain", body=b"fine")
        self.repeatable = True
        self._asked: asyncio.Queue[tuple[CallRecord, asyncio.Future[Outcome]]] = asyncio.Queue()

    def idempotent(self, function: FunctionId, endpoint: str) -> bool:
        return self.repeatable

    def room(self, function: FunctionId) -> int:
        return 100

    async def run(self, call: CallRecord, body: bytes) -> Outcome:
        self.runs.append((call, body))
        if self.ready:
            return self.ready.pop(0)
        if self.by_default is not None:
            return self.by_default
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait((call, answer))
        try:
            return await answer
        except asyncio.CancelledError:
            self.stopped.append(call)
            raise

    async def asked(self) -> tuple[CallRecord, asyncio.Future[Outcome]]:
        """The next run that waits, and what its answer is set on."""
        async with asyncio.timeout(WAIT_S):
            return await self._asked.get()


class Office:
    """What `office` gives a test."""

    def __init__(self, folder: Path, settings: CallSettings, functions: FakeFunctions | None) -> None:
        self.path = folder / "calls.db"
        self.functions = functions or FakeFunctions()
        self.later_s = 0.0
        self.desk = CallDesk(self.path, settings, self.functions, lambda: time.time() + self.later_s)

    async def spawn(self, function: str = "f", body: bytes = b"in", **facts: object) -> CallRecord:
        return (await self.desk.spawn(request(function, **facts), body))[0]

    async def ended(self, call: CallRecord) -> CallRecord:
        async with asyncio.timeout(WAIT_S):
            found = await self.desk.find(call.id, WAIT_S)
        assert found.ended_s is not None, found
        return found


@asynccontextmanager
async def office(
    folder: Path, functions: FakeFunctions | None = None, grace_s: float = 0.0, **changes: object
) -> AsyncIterator[Office]:
    """Started; a later one on the same folder finds what it left."""
    found = Office(folder, msgspec.structs.replace(QUICK, **changes), functions)
    await found.desk.start()
    try:
        yield found
    finally:
        await found.desk.close(grace_s)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * WAIT_S):
            await scenario()

    uvloop.run(bounded())
