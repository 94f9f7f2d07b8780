"""What a coroutine, or a generator among coroutines, yields, on its way out of a worker's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import AsyncGeneratorType
from typing import Any

from glowplug.core.errors import print_safely
from glowplug.node.answers import Answers
from glowplug.node.interrupts import Interrupted
from glowplug.node.results import ItemEncoder
from glowplug.transport.worker_side import Incoming

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]

_END: Any = object()


def named(error: BaseException, was_cancelled: bool) -> BaseException:
    """What a call ended with, as its client is to hear of it. `was_cancelled` is whether the request was:
    what a coroutine awaits may be cancelled by others."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    if was_cancelled:
        return Interrupted()
    found = RuntimeError("the function raised CancelledError")
    found.__cause__ = error
    return found


class LoopStreams:
    """`heard` returns when something came from the gateway; `flush_soon` has what is queued written in a
    moment."""

    def __init__(
        self,
        answers: Answers,
        heard: Callable[[], Awaitable[None]],
        flush_soon: Callable[[], None],
    ) -> None:
        self._answers = answers
        self._endpoint = answers.endpoint
        self._heard = heard
        self._flush_soon = flush_soon

    async def send(
        self,
        incoming: Incoming,
        items: Iterator[Any] | AsyncIterator[Any],
        start_s: float,
        in_thread: InThread,
        was_cancelled: Callable[[], bool],
    ) -> None:
        """Sends what `items` yields as it comes. `in_thread` runs what does not await, in one thread;
        `was_cancelled` tells of the request."""
        request, encoder, begun = incoming.request, ItemEncoder(incoming.accept), False
        try:
            while (item := await self._following(items, in_thread)) is not _END:
                data = encoder.encode(item)
                if not begun:
                    begun = True
                    self._begin_stream(request, encoder.content_type, start_s)
                await self._push(request, data)
        except BaseException as error:
            await self._close(items, in_thread)
            self._answers.fail(request, named(error, was_cancelled()))
        else:
            if not begun:
                self._begin_stream(request, encoder.content_type, start_s)
            self._endpoint.end(request, self._answers.stamp(start_s)[0])

    def _begin_stream(self, request: int, content_type: str, start_s: float) -> None:
        self._endpoint.begin(request, content_type, *self._answers.stamp(start_s, is_over=False))

    async def _following(self, items: Iterator[Any] | AsyncIterator[Any], in_thread: InThread) -> Any:
        if isinstance(items, Iterator):
            return await in_thread(lambda: next(items, _END))
        return await anext(items, _END)

    async def _push(self, request: int, data: bytes | bytearray | memoryview) -> None:
        """Returns when the last of `data` is sent, and the others had their turn."""
        rest = memoryview(data)
        while True:
            rest = rest[self._endpoint.chunk(request, rest) :]
            self._flush_soon()
            if not rest:
                await asyncio.sleep(0)
                return
            await self._heard()

    async def _close(self, items: Any, in_thread: InThread) -> None:
        """Ends a generator; its finally blocks run."""
        try:
            if isinstance(items, AsyncGeneratorType):
                await items.aclose()
            else:
                await in_thread(items.close)
        except BaseException as error:
            print_safely(error)
