"""Does what a backlog says is due: one task for each entry, one timer for what comes later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from glowplug.calls.backlog import Backlog, Entry

log = structlog.get_logger("glowplug.calls")
_LONGEST_TIMER_S = 3600.0


class DueLoop:
    """`work` does one entry and returns the next one of that call, if there is one. It handles its own
    errors: one that gets here is a defect, and is logged."""

    def __init__(
        self,
        backlog: Backlog,
        work: Callable[[Entry], Awaitable[Entry | None]],
        clock: Callable[[], float],
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.backlog = backlog
        self._work = work
        self._clock = clock
        self._paused = paused
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.stopping = False

    def add(self, entry: Entry) -> None:
        self.backlog.add(entry)
        self.wake()

    def wake(self) -> None:
        """Looks what may be done now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.stopping or self._paused():
            return
        loop = asyncio.get_running_loop()
        now_s = self._clock()
        for entry in self.backlog.take(now_s):
            task = loop.create_task(self._do(entry))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        due_s = self.backlog.next_due_s
        if due_s is not None:
            self._timer = loop.call_later(min(max(due_s - now_s, 0.001), _LONGEST_TIMER_S), self.wake)

    async def _do(self, entry: Entry) -> None:
        following: Entry | None = None
        try:
            following = await self._work(entry)
        except Exception:
            log.exception("a spawned call met a defect of the server", call=entry.call)
        finally:
            self.backlog.release(entry)
        if following is not None:
            self.backlog.add(following)
        self.wake()

    def stop(self) -> None:
        """Begins nothing more."""
        self.stopping = True
        if self._timer is not None:
            self._timer.cancel()

    async def close(self, grace_s: float = 0.0) -> None:
        """Ends what still runs after `grace_s`."""
        self.stop()
        if self._tasks and grace_s > 0:
            await asyncio.wait(set(self._tasks), timeout=grace_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
