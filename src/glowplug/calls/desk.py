"""What the gateway sees of spawned calls: take one, ask for one, cancel, retry; and what runs behind that."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import get_args

import msgspec
import structlog

from glowplug.calls import states
from glowplug.calls.callbacks import Callbacks, check_url
from glowplug.calls.runner import CallRunner, Dispatcher
from glowplug.calls.store import CallStore
from glowplug.core.calls import ENDED, Callback, CallId, CallRecord, CallState
from glowplug.core.errors import CapacityError, NoSpace
from glowplug.core.ids import FunctionId
from glowplug.core.settings import CallSettings

log = structlog.get_logger("glowplug.calls")
_SWEEP_S = 1.0
_LONGEST_WAIT_S = 60.0
_GRACE_S = 3.0


class SpawnRequest(msgspec.Struct, frozen=True):
    """`deadline_s` counts from now, up to what the server allows; `key` makes asking twice harmless."""

    function: FunctionId
    endpoint: str
    content_type: str
    accept: str
    idempotent: bool
    priority: int
    timeout_s: float | None = None
    deadline_s: float | None = None
    key: str | None = None
    callback_url: str | None = None


class CallDesk:
    """Used from one event loop, from `start` until `close`. `clock` gives epoch seconds."""

    def __init__(
        self, path: Path, settings: CallSettings, dispatcher: Dispatcher, clock: Callable[[], float]
    ) -> None:
        """Raises sqlite3.Error when the file cannot be opened."""
        self.settings = settings
        self.store = CallStore(path, settings)
        self._clock = clock
        self._runner = CallRunner(self.store, dispatcher, settings, clock, self._changed)
        self._callbacks = Callbacks(self.store, settings, clock, self._changed)
        self._waiters: dict[CallId, list[asyncio.Future[None]]] = {}
        self._accepting: set[asyncio.Task[tuple[CallRecord, bool]]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Takes up again what was accepted, or tries until the disk takes it. Functions must be known."""
        self.store.open()
        try:
            await self._restore()
        except CapacityError as error:
            log.error("spawned calls are not taken up yet", error=error.message)
        self._sweeping = asyncio.create_task(self._sweep_on())

    async def _restore(self) -> None:
        now_s = self._clock()
        await self.store.keep_no_longer(now_s)
        found: list[CallRecord] = []
        count = 0
        while True:
            last = found[-1].id if found else CallId("")
            found = await self.store.restore(
                lambda c: states.found_again(c, self.settings, now_s), last, now_s
            )
            if not found:
                break
            count += len(found)
            for call in found:
                self._changed(call)
                if call.state == "waiting":
                    self._runner.add(call)
        self._runner.restored = True
        self._runner.loop.wake()
        if count:
            log.info("spawned calls are taken up again", calls=count)

    def stop(self) -> None:
        """Begins nothing more, and answers those who wait. What runs may end."""
        self._stopping = True
        self._runner.loop.stop()
        self._callbacks.loop.stop()
        for call in list(self._waiters):
            self._wake(call)

    async def close(self, grace_s: float = _GRACE_S) -> None:
        """What still runs after `grace_s` is left as it is for the next start."""
        self.stop()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait({self._sweeping})
        await self._runner.loop.close(grace_s)
        await self._callbacks.close()
        await asyncio.to_thread(self.store.close)

    def gauges(self) -> dict[str, tuple[str, float]]:
        """What is stored, as of the last write: metric -> (help, value)."""
        totals = self.store.totals
        found: dict[str, tuple[str, float]] = {
            f"glowplug_spawned_calls_{state}": (f"Spawned calls stored as {state}.", totals[state])
            for state in get_args(CallState)
        }
        found["glowplug_spawned_argument_bytes"] = "Arguments stored.", totals["argument_bytes"]
        found["glowplug_spawned_result_bytes"] = "Results stored.", totals["result_bytes"]
        return found

    # for callers

    async def spawn(self, request: SpawnRequest, body: bytes) -> tuple[CallRecord, bool]:
        """Returns once the call is durable; False says that it was there already, by its key.

        Raises QueueFull, NoSpace, IdempotencyKeyReused, UserError for a callback that cannot be.
        """
        if not self._runner.restored:
            raise NoSpace(
                "the calls of the last start are not taken up again yet: the disk is full, or their file is "
                "damaged; the server's log says which",
                5.0,
            )
        now_s = self._clock()
        url = None if request.callback_url is None else check_url(request.callback_url, self.settings)
        deadline_s = self.settings.deadline_s
        if request.deadline_s is not None:
            deadline_s = min(request.deadline_s, deadline_s)
        call = CallRecord(
            id=_new_id(now_s), function=request.function, endpoint=request.endpoint,
            idempotent=request.idempotent, created_s=now_s, due_s=now_s, deadline_s=now_s + deadline_s,
            timeout_s=request.timeout_s, priority=request.priority, content_type=request.content_type,
            accept=request.accept, body_bytes=len(body), callback=None if url is None else Callback(url),
        )  # fmt: skip
        # A caller who leaves does not undo what is written meanwhile.
        accepting = asyncio.create_task(self._accept(call, body, request.key))
        self._accepting.add(accepting)
        accepting.add_done_callback(self._accepting.discard)
        return await asyncio.shield(accepting)

    async def _accept(self, call: CallRecord, body: bytes, key: str | None) -> tuple[CallRecord, bool]:
        found, is_new = await self.store.accept(call, body, key)
        if is_new:
            self._runner.add(found)
        return found, is_new

    async def find(self, call: CallId, wait_s: float = 0.0) -> CallRecord:
        """The call as it is, or as soon as it has ended, waiting up to `wait_s`. Raises UnknownCall."""
        if wait_s <= 0:
            return await self.store.reader.find(call)
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(call, []).append(waiter)
        try:
            found = await self.store.reader.find(call)
            if found.state in ENDED or self._stopping:
                return found
            await asyncio.wait({waiter}, timeout=min(wait_s, _LONGEST_WAIT_S))
        finally:
            waiters = self._waiters.get(call, [])
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[call]
        return await self.store.reader.find(call)

    async def result(self, call: CallId) -> bytes | None:
        return await self.store.reader.result(call)

    async def list(
        self, function: str | None, some: Iterable[CallState], before: str | None, limit: int
    ) -> list[CallRecord]:
        return await self.store.reader.list(function, some, before, limit)

    async def cancel(self, call: CallId) -> CallRecord:
        """The call as it is then: cancelled, or ended before. Raises UnknownCall, NoSpace."""
        while True:
            # One whose attempt had just ended when it was stopped may wait for the next by now.
            await self._runner.cancel(call)
            now_s = self._clock()
            found = await self.store.change(call, partial(states.cancel, now_s=now_s), now_s)
            if found.state != "started" or not self._runner.runs(call):
                break
        self._runner.loop.backlog.discard(call)
        self._changed(found)
        return found

    async def retry(self, call: CallId, even_if_lost: bool = False) -> CallRecord:
        """Sends a dead letter once more. Raises UnknownCall, CallNotRetriable, NoSpace."""
        now_s = self._clock()
        found = await self.store.change(call, lambda c: states.retry(c, now_s, even_if_lost), now_s)
        self._runner.add(found)
        return found

    # inside

    def _changed(self, call: CallRecord) -> None:
        if call.state in ENDED:
            self._wake(call.id)
            self._callbacks.add(call)

    def _wake(self, call: CallId) -> None:
        for waiter in self._waiters.pop(call, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                await self.sweep()
            except CapacityError as error:
                log.warning("old calls could not be forgotten", error=error.message)

    async def sweep(self) -> None:
        """Ends what waited too long, forgets what is old, and looks whether there is room again."""
        if not self._runner.restored:
            await self._restore()
        now_s = self._clock()
        if any(self.store.totals.values()):
            for call in await self.store.expire(now_s):
                self._runner.loop.backlog.discard(call.id)
                self._changed(call)
            while await self.store.collect(now_s):
                pass
        self._runner.loop.wake()


def _new_id(now_s: float) -> CallId:
    return CallId(f"{int(now_s * 1000) & (1 << 48) - 1:012x}{secrets.token_hex(10)}")
