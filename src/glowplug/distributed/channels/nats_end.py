"""One worker's end of a JetStream stream."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Collection, Sequence

from nats.aio.msg import Msg
from nats.errors import Error
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from glowplug.distributed.channels.base import Buffer, KeyChecks, Limits, MessageKey
from glowplug.distributed.channels.envelope import RECORD_BYTES, envelopes, opened
from glowplug.distributed.channels.inbox import Inbox
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.nats_link import CALL_S, NatsLink, stream_name, subject_name
from glowplug.distributed.channels.nats_outbox import NatsOutbox
from glowplug.distributed.errors import ChannelClosed, ChannelError

_AGAIN_S = 0.1
_HEARTBEAT_S = 2.0
"""So often the server says how far it has pushed, where nothing else does."""
_INACTIVE_S = 10.0
"""The server forgets a consumer that nobody listens to for so long."""
_PENDING_BYTES = 2**30
_PURGED_AT_ONCE = 64


class NatsChannel:
    """Owns `link`. A server's messages are kept in a thread of the link's; `receive` waits for them."""

    def __init__(self, run: str, workers: int, worker: int, link: NatsLink, send_timeout_s: float) -> None:
        self.worker = worker
        self.limits = _limits(link.client.max_payload)
        self.meter = Meter()
        self._run = run
        self._checks = KeyChecks(run, workers, worker, self.limits)
        self._link = link
        self._changed = threading.Condition()
        self._outbox = NatsOutbox(
            link, run, f"worker {worker} sends", self.meter, self._changed, send_timeout_s
        )
        self._inbox = Inbox()
        self._failure: ChannelError | None = None
        self._first: dict[tuple[int, int], int] = {}
        """Of each layer that is not fenced off, the first place of a message in the stream."""
        self._last = 0
        self._purged = 0
        self._pushed: JetStreamContext.PushSubscription | None = None
        self._returning: asyncio.Task[None] | None = None
        link.wait(self._join(), CALL_S, f"joining run {run!r}")
        link.on_reconnect = self._came_back

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._checks.sending(messages)
        if messages:
            self._outbox.put(envelopes(messages, self._link.client.max_payload))
        for _, payload in messages:
            self.meter.sent(memoryview(payload).nbytes)

    def flush(self) -> None:
        self._outbox.flush()

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self._checks.receiving(wanted)
        until_s = time.monotonic() + timeout_s
        with self._changed:
            self._inbox.await_these(wanted)
            while True:
                self._outbox.check()
                if self._failure is not None:
                    raise self._failure
                found = self._inbox.take(wanted)
                left_s = until_s - time.monotonic()
                if found or left_s <= 0 or not wanted:
                    break
                self._changed.wait(left_s)
        for payload in found.values():
            self.meter.received(len(payload))
        return found

    def expect(self, first: int, end: int) -> None:
        with self._changed:
            self._inbox.expect(first, end)

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        return set()

    def reject(self, keys: Collection[MessageKey]) -> None:
        with self._changed:
            self._inbox.reject(keys)

    def fence(self, epoch: int, layer: int) -> None:
        with self._changed:
            self._inbox.fence(epoch, layer)
            for one in [one for one in self._first if one < (epoch, layer)]:
                del self._first[one]
            done = min(self._first.values(), default=self._last + 1)
        if done - self._purged >= _PURGED_AT_ONCE:
            self._purged = done
            self._link.begin(self._purge(done))

    def close(self) -> None:
        if not self._checks.closed:
            self._checks.closed = True
            if self._link.client.is_connected:
                with contextlib.suppress(ChannelError):
                    self._outbox.flush()
            self._link.close()

    async def _join(self) -> None:
        await self._outbox.begin()
        await self._listen()

    async def _listen(self) -> None:
        """To what comes after what came."""
        self._pushed = await self._link.stream.subscribe(
            subject_name(self._run, str(self.worker)),
            stream=stream_name(self._run),
            cb=self._came,
            ordered_consumer=True,
            config=api.ConsumerConfig(
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._last + 1,
                inactive_threshold=_INACTIVE_S,
            ),
            idle_heartbeat=_HEARTBEAT_S,
            pending_bytes_limit=_PENDING_BYTES,
        )

    def _came_back(self) -> None:
        self._outbox.came_back()
        if self._returning is not None:
            self._returning.cancel()
        self._returning = asyncio.create_task(self._listen_again())

    async def _listen_again(self) -> None:
        """A server that was started again has forgotten who listens, and what another pushed meanwhile is
        lost."""
        while True:
            try:
                pushed, self._pushed = self._pushed, None
                if pushed is not None:
                    await pushed.unsubscribe()
                return await self._listen()
            except NotFoundError:
                return self._outbox.fail(ChannelClosed(f"run {self._run!r} is over"))
            except (Error, OSError):
                await asyncio.sleep(_AGAIN_S)

    async def _came(self, message: Msg) -> None:
        try:
            inside = opened(self._run, message.data)
        except ValueError:
            self.meter.damaged += 1
            inside = []
        at = message.metadata.sequence.stream
        with self._changed:
            self._last = max(self._last, at)
            for key, payload in inside:
                try:
                    if self._inbox.put(key, payload):
                        self._first.setdefault((key.epoch, key.layer), at)
                except ChannelError as error:
                    self._failure = error
            self._changed.notify_all()

    async def _purge(self, before: int) -> None:
        """The stream need not keep what is fenced off."""
        try:
            await self._link.stream.purge_stream(
                stream_name(self._run), seq=before, subject=subject_name(self._run, str(self.worker))
            )
        except (Error, OSError):
            # The next one takes it along.
            pass


def _limits(payload_bytes: int) -> Limits:
    return Limits(
        max_message_bytes=payload_bytes - RECORD_BYTES,
        max_batch_messages=1,
        max_batch_bytes=payload_bytes,
        ordered=False,
        duplicates=True,
        durable=True,
        replays=True,
        looks_are_calls=False,
        slow_s=0.02,
    )
