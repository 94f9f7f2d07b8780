"""What functions printed: the last lines of each, and whoever follows them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

from glowplug.core.status import LogLine

_FOLLOWER_LINES = 1000


class LogBook:
    """Bounded: `kept` lines a function; a follower that does not keep up loses the oldest."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._lines: dict[str, deque[LogLine]] = {}
        self._followers: dict[asyncio.Queue[LogLine | None], str | None] = {}
        self._ended = False

    def end_followers(self) -> None:
        """Every follower comes to its end, now and from now on."""
        self._ended = True
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    def add(self, function: str, instance: int, stream: str, texts: list[str]) -> None:
        now_s = time.time()
        book = self._lines.setdefault(function, deque(maxlen=self._kept))
        for text in texts:
            line = LogLine(now_s, function, instance, stream, text)
            book.append(line)
            for queue, wanted in self._followers.items():
                if wanted is None or wanted == function:
                    if queue.full():
                        queue.get_nowait()
                    queue.put_nowait(line)

    def forget(self, function: str) -> None:
        self._lines.pop(function, None)

    async def read(
        self,
        function: str | None,
        follow: bool = False,
        tail: int | None = None,
        since_s: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """The kept lines (the last `tail`, those after `since_s`), then, to a follower, each new one."""
        queue: asyncio.Queue[LogLine | None] = asyncio.Queue(_FOLLOWER_LINES)
        if follow:
            self._followers[queue] = function
        try:
            books = (
                [self._lines.get(function, deque())] if function is not None else list(self._lines.values())
            )
            lines = sorted((line for book in books for line in book), key=lambda line: line.at_s)
            if since_s is not None:
                lines = [line for line in lines if line.at_s >= since_s]
            for line in lines[-tail:] if tail is not None else lines:
                yield line
            while follow and not self._ended and (found := await queue.get()) is not None:
                yield found
        finally:
            self._followers.pop(queue, None)
