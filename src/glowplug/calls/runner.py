"""Runs one call: writes down that it starts, sends it, writes down how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from glowplug.calls import states
from glowplug.calls.backlog import Backlog, Entry
from glowplug.calls.due import DueLoop
from glowplug.calls.states import Outcome
from glowplug.calls.store import CallStore
from glowplug.core.calls import CallId, CallRecord
from glowplug.core.errors import CapacityError, UnknownCall
from glowplug.core.ids import FunctionId
from glowplug.core.rng import Rng, rng_for
from glowplug.core.settings import CallSettings

log = structlog.get_logger("glowplug.calls")
_WRITE_AGAIN_S = 1.0


class Dispatcher(Protocol):
    """Sends requests to functions."""

    def idempotent(self, function: FunctionId, endpoint: str) -> bool:
        """Whether the code that answers now says that it may run twice. False when there is none."""
        ...

    def room(self, function: FunctionId) -> int:
        """How many calls may be on their way to it at once and leave a part of its queue to others."""
        ...

    async def run(self, call: CallRecord, body: bytes) -> Outcome:
        """One attempt. Raises nothing but CancelledError, after which the function is told to stop."""
        ...


class _Run:
    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.sending: asyncio.Task[Outcome] | None = None
        self.over = asyncio.Event()


class CallRunner:
    """`on_change` is told of each record that was written."""

    def __init__(
        self,
        store: CallStore,
        dispatcher: Dispatcher,
        settings: CallSettings,
        clock: Callable[[], float],
        on_change: Callable[[CallRecord], None],
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._told = False
        """Whether the log has it that calls cannot be started."""
        self._rests = False
        """None begins: the disk has just refused one, and would the next."""
        self._runs: dict[CallId, _Run] = {}
        backlog = Backlog(settings.at_once, self._most_at_once, settings.max_running_bytes)
        self.loop = DueLoop(backlog, self._run, clock, self._is_paused)
        self.restored = False
        """Until all calls of the last start are found again none runs: what is marked as started then is of
        the last start for certain."""

    def add(self, call: CallRecord) -> None:
        """It waits; it will be run."""
        self.loop.add(_entry(call))

    async def cancel(self, call: CallId) -> bool:
        """Stops a call that runs and waits until that is written down; False when it does not run."""
        run = self._runs.get(call)
        if run is None:
            return False
        run.cancelled.set()
        if run.sending is not None:
            run.sending.cancel()
        await run.over.wait()
        return True

    def runs(self, call: CallId) -> bool:
        return call in self._runs

    def _most_at_once(self, function: str) -> int:
        room = self._dispatcher.room(FunctionId(function))
        return max(1, min(self._settings.at_once_per_function, room))

    def _rest(self) -> None:
        def go_on() -> None:
            self._rests = False
            self.loop.wake()

        if not self._rests:
            self._rests = True
            asyncio.get_running_loop().call_later(_WRITE_AGAIN_S, go_on)

    def _is_paused(self) -> bool:
        if not self.restored or self._rests:
            return True
        return self._store.totals["result_bytes"] >= self._settings.max_result_bytes

    async def _run(self, entry: Entry) -> Entry | None:
        run = self._runs[entry.call] = _Run()
        try:
            return await self._attempt(entry, run)
        except UnknownCall:
            return None
        except CapacityError as error:
            log.error("the end of a call was not written down", call=entry.call, error=error.message)
            return None
        finally:
            del self._runs[entry.call]
            run.over.set()

    async def _attempt(self, entry: Entry, run: _Run) -> Entry | None:
        now_s = self._clock()

        def begin(call: CallRecord) -> CallRecord:
            return states.start(call, self._dispatcher.idempotent(call.function, call.endpoint), now_s)

        try:
            call, body = await self._store.start(entry.call, begin, now_s)
        except CapacityError as error:
            if not self._told:
                self._told = True
                log.warning("calls cannot be started now", error=error.message)
            self._rest()
            return _later(entry, now_s + _WRITE_AGAIN_S)
        self._told = False
        if call is None:
            return None
        if call.state != "started":
            self._on_change(call)
            return None
        if self.loop.stopping:
            await self._written(entry.call, states.put_back)
            return None
        outcome = await self._send(call, body, run)
        del body
        now_s = self._clock()
        if outcome is None:
            call = await self._written(entry.call, lambda c: states.cancel(c, now_s, running=True))
        else:
            rng = _rng_of(call, self._settings)
            call = await self._written(
                entry.call, lambda c: states.after(c, outcome, self._settings, now_s, rng), outcome.body
            )
        self._on_change(call)
        return _entry(call) if call.state == "waiting" else None

    async def _send(self, call: CallRecord, body: bytes, run: _Run) -> Outcome | None:
        """None when it was cancelled by its caller."""
        if run.cancelled.is_set():
            return None
        run.sending = asyncio.create_task(self._dispatcher.run(call, body))
        try:
            return await run.sending
        except asyncio.CancelledError:
            run.sending.cancel()
            if run.cancelled.is_set():
                return None
            raise

    async def _written(
        self, call: CallId, change: Callable[[CallRecord], CallRecord], result: bytes | None = None
    ) -> CallRecord:
        """Tries until it is written: what a function answered is not thrown away for a disk that is full. The
        slot is held meanwhile, so few answers wait like that. Raises UnknownCall; once stopping,
        CapacityError."""
        told = False
        while True:
            try:
                return await self._store.change(call, change, self._clock(), result)
            except CapacityError as error:
                if self.loop.stopping:
                    raise
                if not told:
                    log.error("the end of a call cannot be written yet", call=call, error=error.message)
                    told = True
            await asyncio.sleep(_WRITE_AGAIN_S)


def _entry(call: CallRecord) -> Entry:
    return Entry(call.id, call.function, call.due_s, call.priority, call.body_bytes)


def _later(entry: Entry, due_s: float) -> Entry:
    return Entry(entry.call, entry.lane, due_s, entry.priority, entry.size_bytes)


def _rng_of(call: CallRecord, settings: CallSettings) -> Rng:
    return rng_for(settings.seed, (int(call.id[-12:], 16) << 16) | (call.attempts + call.refusals) & 0xFFFF)
