"""What functions printed: the last lines of each, and whoever follows them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from heapq import merge
from itertools import count

import msgspec

from glowplug.core.errors import Overloaded
from glowplug.core.status import LogLine, LogQuery

_FOLLOWER_LINES = 1000
_FOLLOWERS = 200
_EVERYTHING = LogQuery()


class _Follower(msgspec.Struct, frozen=True):
    """`function` is None for all functions; None in its queue is the end."""

    function: str | None
    query: LogQuery
    lines: asyncio.Queue[LogLine | None]

    def put(self, line: LogLine | None) -> None:
        if self.lines.full():
            self.lines.get_nowait()
        self.lines.put_nowait(line)


class LogBook:
    """Bounded: `kept` lines a function; a follower that does not keep up loses the oldest."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._lines: dict[str, deque[tuple[int, LogLine]]] = {}
        """With the number of each line: the wall clock, which people read, may be set back."""
        self._numbers = count()
        self._followers: dict[int, _Follower] = {}
        self._ended = False

    def end_followers(self) -> None:
        """Every follower comes to its end, now and from now on."""
        self._ended = True
        for follower in self._followers.values():
            follower.put(None)

    def add(self, function: str, instance: int, stream: str, texts: list[str], *, kept: bool = True) -> None:
        """With `kept=False` only followers get them: what a function says that is gone is never forgotten."""
        now_s = time.time()
        book = self._lines.setdefault(function, deque(maxlen=self._kept)) if kept else None
        for text in texts:
            line = LogLine(now_s, function, instance, stream, text)
            if book is not None:
                book.append((next(self._numbers), line))
            for follower in self._followers.values():
                if follower.function in (None, function) and follower.query.matches(line):
                    follower.put(line)

    def forget(self, function: str) -> None:
        self._lines.pop(function, None)

    def read(
        self,
        function: str | None,
        follow: bool = False,
        tail: int | None = None,
        query: LogQuery = _EVERYTHING,
    ) -> AsyncIterator[LogLine]:
        """The kept lines that match (the last `tail` of them), then, to a follower, each new one.

        Raises Overloaded when there are as many followers as there may be.
        """
        if follow and len(self._followers) >= _FOLLOWERS:
            raise Overloaded(f"{_FOLLOWERS} others follow what functions print", 5.0)
        return self._read(function, follow, tail, query)

    async def _read(
        self, function: str | None, follow: bool, tail: int | None, query: LogQuery
    ) -> AsyncIterator[LogLine]:
        follower = _Follower(function, query, asyncio.Queue(_FOLLOWER_LINES))
        follow = follow and not self._ended
        if follow:
            self._followers[id(follower)] = follower
        try:
            books = (
                [self._lines.get(function, deque())] if function is not None else list(self._lines.values())
            )
            lines = [line for _, line in merge(*books) if query.matches(line)]
            for line in lines[max(0, len(lines) - tail) :] if tail is not None else lines:
                yield line
            while follow and (new := await follower.lines.get()) is not None:
                yield new
        finally:
            self._followers.pop(id(follower), None)
