"""The calls of a trace, on a real server, at their moments."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from glowplug.bench.harness import RunningServer
from glowplug.bench.live.load import Caller, Outcome
from glowplug.sim.workloads.trace import Trace


@contextmanager
def caller_of(server: RunningServer) -> Iterator[Caller]:
    """Asks that server, until the block is left."""
    parts = urlsplit(server.url)
    address = parts.hostname or "", parts.port or 0
    caller = Caller(lambda: address)
    try:
        yield caller
    finally:
        caller.close()


async def play(
    trace: Trace,
    send: Callable[[int, int], Awaitable[Outcome]],
    tell: Callable[[float], None] = lambda share: None,
) -> list[Outcome]:
    """Every call at its moment, whether the earlier ones were answered or not, and what became of each, in
    their order. `send` gets the function's and the call's number; `tell` hears of the share done."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    calls: list[asyncio.Task[Outcome]] = []
    async with asyncio.TaskGroup() as group:
        for number, (at_s, function) in enumerate(trace.events()):
            await asyncio.sleep(max(0.0, start_s + at_s - loop.time()))
            tell(min(1.0, at_s / trace.span_s))
            calls.append(group.create_task(_sent(send, function, number)))
    tell(1.0)
    return [call.result() for call in calls]


async def _sent(send: Callable[[int, int], Awaitable[Outcome]], function: int, number: int) -> Outcome:
    return await send(function, number)
