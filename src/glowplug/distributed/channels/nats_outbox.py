"""What one end publishes. The server stores it in the background and says so; until then it is kept, and
published again."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error, MaxPayloadError
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.nats_link import NatsLink, stream_name, subject_name
from glowplug.distributed.errors import ChannelClosed, ChannelError

MOST_BYTES = 16 * 2**20
"""Of what is not stored yet: a sender that is so far ahead waits."""
_STORED_S = 2.0
_AGAIN_S = 0.05


class _Kept(msgspec.Struct):
    """`given_s` is when it was sent, `due_s` when it is published again."""

    subject: str
    content: bytes
    given_s: float
    due_s: float


class NatsOutbox:
    """Any thread may call what is not a coroutine; those run in the link's.

    What cannot be stored any more, since the run is over or the server refuses it, fails every later call;
    what is not stored for `send_timeout_s` fails them until it is.
    """

    def __init__(
        self,
        link: NatsLink,
        run: str,
        what: str,
        meter: Meter,
        changed: threading.Condition,
        send_timeout_s: float,
    ) -> None:
        """`what` names it in errors; `changed` is told of those, too."""
        self._link, self._run, self._what, self._meter = link, run, what, meter
        self._changed, self._send_timeout_s = changed, send_timeout_s
        self._refusal = ""
        self._waiting = 0
        self._kept: dict[int, _Kept] = {}
        self._kept_bytes = self._last = 0
        self._fresh: deque[int] = deque()
        self._failure: ChannelError | None = None
        self._answers = link.client.new_inbox()
        self._is_fresh = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        await self._link.client.subscribe(f"{self._answers}.*", cb=self._answered)
        self._tasks = [asyncio.create_task(work) for work in (self._publish_fresh(), self._publish_again())]

    def put(self, packed: Sequence[tuple[int, bytes]]) -> None:
        """(target, content) each. Raises ChannelError before any of it is taken."""
        nbytes = sum(len(content) for _, content in packed)
        with self._changed:
            self._wait_until(lambda: not self._kept or self._kept_bytes + nbytes <= MOST_BYTES)
            now_s = time.monotonic()
            for target, content in packed:
                self._last += 1
                subject = subject_name(self._run, str(target))
                self._kept[self._last] = _Kept(subject, content, now_s, now_s + _STORED_S)
                self._fresh.append(self._last)
            self._kept_bytes += nbytes
        self._link.soon(self._is_fresh.set)

    def flush(self) -> None:
        """Returns when all of it is stored. Raises ChannelError."""
        with self._changed:
            self._wait_until(lambda: not self._kept)

    def check(self) -> None:
        """With the lock held. Raises ChannelError."""
        if self._failure is not None:
            raise self._failure
        if self._left_s() <= 0:
            late = TimeoutError(
                f"{len(self._kept)} messages were not stored in {self._send_timeout_s} s{self._refusal}"
            )
            raise self._link.named(late, self._what) from late

    def came_back(self) -> None:
        """What was published just before the connection was lost may not have come."""
        with self._changed:
            for kept in self._kept.values():
                kept.due_s = 0.0

    def fail(self, error: ChannelError) -> None:
        """For good. Whoever waits is woken."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        self.check()
        self._waiting += 1
        try:
            while not is_so():
                self._changed.wait(self._left_s())
                self.check()
        finally:
            self._waiting -= 1

    def _left_s(self) -> float:
        """Until the oldest is late."""
        oldest = next(iter(self._kept.values()), None)
        return self._send_timeout_s + (oldest.given_s - time.monotonic() if oldest is not None else 0.0)

    async def _publish_fresh(self) -> None:
        while not self._link.client.is_closed:
            await self._is_fresh.wait()
            self._is_fresh.clear()
            while self._fresh and not self._link.client.is_closed:
                number = self._fresh.popleft()
                kept = self._kept.get(number)
                if kept is not None:
                    await self._publish(number, kept)

    async def _publish_again(self) -> None:
        while self._failure is None and not self._link.client.is_closed:
            await asyncio.sleep(_AGAIN_S)
            with self._changed:
                now_s = time.monotonic()
                due = [each for each in self._kept.items() if each[1].due_s <= now_s]
            for number, kept in due:
                await self._publish(number, kept)

    async def _publish(self, number: int, kept: _Kept) -> None:
        if not self._link.client.is_connected:
            return
        kept.due_s = time.monotonic() + _STORED_S
        self._meter.publish(len(kept.content))
        try:
            await self._link.client.publish(kept.subject, kept.content, f"{self._answers}.{number}")
        except MaxPayloadError as error:
            self.fail(self._link.named(error, self._what))
        except (Error, OSError):
            # It is due again.
            pass

    async def _answered(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        if message.headers:
            await self._see_that_the_run_goes_on(number)
        elif b'"error"' in message.data:
            self._refused(number, message.data)
        else:
            with self._changed:
                stored = self._kept.pop(number, None)
                if stored is not None:
                    self._kept_bytes -= len(stored.content)
                    if self._waiting:
                        self._changed.notify_all()

    def _refused(self, number: int, answer: bytes) -> None:
        try:
            APIError.from_error(json.loads(answer)["error"])
        except ServiceUnavailableError as error:
            self._refusal = f": {error.description}"
            self._put_off(number)
        except APIError as error:
            self.fail(self._link.named(error, self._what))

    async def _see_that_the_run_goes_on(self, number: int) -> None:
        """A server that has just started does not answer for its streams yet."""
        try:
            await self._link.stream.stream_info(stream_name(self._run))
        except NotFoundError:
            self.fail(ChannelClosed(f"run {self._run!r} is over"))
        except (Error, OSError):
            pass
        self._put_off(number)

    def _put_off(self, number: int) -> None:
        kept = self._kept.get(number)
        if kept is not None:
            kept.due_s = time.monotonic() + _AGAIN_S
