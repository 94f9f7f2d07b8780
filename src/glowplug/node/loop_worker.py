"""A worker of a function with coroutines: they run in an event loop, its other calls in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from glowplug.core.batches import columns, rows
from glowplug.node import wire
from glowplug.node.answers import Answers
from glowplug.node.gathering import Gathering
from glowplug.node.inference import stay_in_inference_mode
from glowplug.node.loop_streams import LoopStreams, named
from glowplug.node.messages import CancelRequest
from glowplug.node.parallel import keep_threads
from glowplug.node.results import encode_result
from glowplug.node.routes import Route, Routes
from glowplug.node.thread_calls import ThreadCall
from glowplug.transport.worker_side import Incoming


class _Call:
    """What runs for one request, or for a batch of them."""

    def __init__(self, members: list[Incoming]) -> None:
        self.members = {member.request for member in members}
        self.stopped: int | None = None
        """The request whose end is waited for, because it was cancelled."""
        self.task: asyncio.Task[None] | None = None
        self.thread: ThreadPoolExecutor | None = None
        """A generator's, of one thread: each of its steps finds there what the one before left."""

    def was_cancelled(self) -> bool:
        return self.stopped is not None


def _with_no_cancelled_error(function: Callable[[], Any]) -> Any:
    """In a thread: to the event loop it would be a request that was cancelled."""
    try:
        return function()
    except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
        raise RuntimeError("the function raised CancelledError") from error


class LoopWorker:
    """Answers until the gateway is gone, or the door of several; `routes.concurrency` calls run at once, the
    rest wait, in order.

    Cancelling ends a coroutine at its next await, and a call in a thread when it next runs Python code.
    """

    def __init__(self, answers: Answers, routes: Routes, control: socket.socket) -> None:
        self._answers = answers
        self._endpoint = answers.endpoint
        self._routes = routes
        self._control = control
        self._cancels = wire.Receiver(control, CancelRequest)
        self._free = routes.concurrency
        self._pool = ThreadPoolExecutor(routes.concurrency, "glowplug-call", keep_threads)
        self._idle: list[ThreadPoolExecutor] = []
        """Those of generators that have ended, for the next ones."""
        self._loop = asyncio.new_event_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._queue: deque[Incoming] = deque()
        self._calls: dict[int, _Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gatherings: dict[Route, Gathering] = {}
        self._forming: dict[Route, list[Incoming]] = {}
        """Batches that still wait for members."""
        self._news: set[asyncio.Future[None]] = set()
        self._flush_due = False
        self._streams = LoopStreams(answers, self._heard, self._flush_soon)

    def run(self) -> None:
        """What still runs when the gateway is gone ends with the process."""
        asyncio.set_event_loop(self._loop)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the loop sees the message that it announces
        self._loop.add_reader(self._endpoint.fileno(), self._guarded, self._on_readable)
        self._loop.add_reader(self._control.fileno(), self._guarded, self._on_cancels)
        self._loop.run_until_complete(self._over)

    def _guarded(self, callback: Callable[[], None]) -> None:
        """An error of ours, or of the connection, ends the worker."""
        try:
            callback()
        except BaseException as error:
            if not self._over.done():
                self._over.set_exception(error)

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _on_readable(self) -> None:
        self._endpoint.read()
        while (incoming := self._endpoint.take()) is not None:
            self._queue.append(incoming)
        if self._endpoint.ended:
            self._end()
            return
        for waiter in self._news:
            if not waiter.done():
                waiter.set_result(None)
        self._news.clear()
        self._fill()

    def _on_cancels(self) -> None:
        for found in self._cancels.waiting():
            if found is None:
                self._end()
                return
            request = found[0].request
            call = self._calls.get(request)
            if call is None or len(call.members) > 1:
                if call is not None:
                    call.members.discard(request)
                    del self._calls[request]
                self._answers.refuse(request)
            else:
                call.stopped = request
                assert call.task is not None
                call.task.cancel()

    def _fill(self) -> None:
        """Begins as many of the waiting requests as may run."""
        while self._free and self._queue:
            incoming = self._queue.popleft()
            try:
                route = self._routes.find(incoming.endpoint)
            except Exception as error:
                self._answers.deny(incoming.request, error)
                self._flush_soon()
                continue
            forming = self._forming.get(route)
            if forming is not None and len(forming) < route.spec.max_batch:
                forming.append(incoming)
                continue
            self._free -= 1
            if route.in_batches:
                members = self._forming[route] = [incoming]
                self._begin(self._batch(members, route))
            else:
                self._begin(self._one(incoming, route))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free += 1
        self._answers.settled()
        self._flush_soon()
        if not task.cancelled() and (error := task.exception()) is not None:
            if not self._over.done():
                self._over.set_exception(error)
        elif self._answers.is_spoiled:
            self._endpoint.flush()
            self._end()
        else:
            self._fill()

    def _enter(self, members: list[Incoming]) -> _Call:
        call = _Call(members)
        call.task = asyncio.current_task()
        self._calls.update(dict.fromkeys(call.members, call))
        return call

    def _leave(self, call: _Call) -> None:
        for request in call.members:
            self._calls.pop(request, None)
        if call.thread is not None:
            self._idle.append(call.thread)
        if call.stopped is not None:
            self._answers.let_go(call.stopped)

    async def _one(self, incoming: Incoming, route: Route) -> None:
        start_s = monotonic()
        try:
            self._answers.check(incoming, start_s)
        except Exception as error:
            self._answers.deny(incoming.request, error)
            return
        call = self._enter([incoming])
        try:
            arguments = route.signature.decode(incoming.content_type, incoming.body)
            result = await self._called(call, route, arguments)
            del arguments
            if isinstance(result, (GeneratorType, AsyncGeneratorType)):
                if isinstance(result, GeneratorType):
                    call.thread = self._thread()
                in_thread = partial(self._in_thread, call)
                await self._streams.send(incoming, result, start_s, in_thread, call.was_cancelled)
                return
            status, content_type, body = encode_result(result, incoming.accept)
            del result
        except BaseException as error:
            self._answers.fail(incoming.request, named(error, call.was_cancelled()))
        else:
            self._answers.reply(incoming, status, content_type, body, start_s)
        finally:
            self._leave(call)

    async def _called(self, call: _Call, route: Route, arguments: dict[str, Any]) -> Any:
        if not route.spec.is_async:
            return await self._in_thread(call, lambda: route.call(**arguments))
        stay_in_inference_mode()
        result = route.call(**arguments)
        return result if isinstance(result, AsyncGeneratorType) else await result

    async def _in_thread(self, call: _Call, function: Callable[[], Any]) -> Any:
        """Returns or raises only when the thread has: a slot stays taken as long as it computes."""
        steps, pool = ThreadCall(), call.thread or self._pool
        running = self._loop.run_in_executor(pool, steps.run, _with_no_cancelled_error, function)
        while True:
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                steps.interrupt()

    def _thread(self) -> ThreadPoolExecutor:
        return self._idle.pop() if self._idle else ThreadPoolExecutor(1, "glowplug-call", keep_threads)

    async def _batch(self, members: list[Incoming], route: Route) -> None:
        gathering = self._gatherings.get(route)
        if gathering is None:
            gathering = self._gatherings[route] = Gathering(route.spec.max_batch, route.spec.max_wait_s)
        await self._gather(members, gathering)
        if self._forming.get(route) is members:
            del self._forming[route]
        start_s = monotonic()
        valid, arguments = self._answers.admit(members, route.signature, start_s)
        if valid:
            await self._run_batch(valid, columns(arguments), route, start_s)
        waiting = sum(incoming.endpoint == members[0].endpoint for incoming in self._queue)
        gathering.saw(len(members) + waiting)

    async def _run_batch(
        self, members: list[Incoming], arguments: dict[str, list[Any]], route: Route, start_s: float
    ) -> None:
        call = self._enter(members)
        try:
            results = rows(await self._called(call, route, arguments), len(members), route.spec.name)
            arguments.clear()  # what they lie in is given back with the answers
        except BaseException as error:
            self._answers.fail_each(members, named(error, call.was_cancelled()))
        else:
            self._answers.reply_each(members, results, start_s)
        finally:
            self._leave(call)

    async def _gather(self, members: list[Incoming], gathering: Gathering) -> None:
        """Adds to `members` what is there for the same endpoint, or may be expected soon."""
        until_s = monotonic() + gathering.max_wait_s
        while True:
            self._take_for(members[0].endpoint, members, gathering.max_batch)
            left_s = until_s - monotonic()
            if len(members) >= gathering.wanted or self._queue or left_s <= 0:
                return
            await self._heard(left_s)

    def _take_for(self, endpoint: str, members: list[Incoming], limit: int) -> None:
        kept: list[Incoming] = []
        while self._queue and len(members) < limit:
            incoming = self._queue.popleft()
            (members if incoming.endpoint == endpoint else kept).append(incoming)
        self._queue.extendleft(reversed(kept))

    async def _heard(self, timeout_s: float | None = None) -> None:
        """Returns when something came from the gateway, or the time is over."""
        waiter = self._loop.create_future()
        self._news.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout_s)
        finally:
            self._news.discard(waiter)

    def _flush_soon(self) -> None:
        """What is answered in one turn of the loop is written together."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._guarded, self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._endpoint.flush()
