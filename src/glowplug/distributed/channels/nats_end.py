"""One worker's end of a JetStream stream."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Collection, Sequence

from nats.aio.msg import Msg
from nats.errors import Error, MaxPayloadError
from nats.js import api
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from glowplug.distributed.channels.base import Buffer, KeyChecks, Limits, MessageKey
from glowplug.distributed.channels.envelope import RECORD_BYTES, envelopes, opened
from glowplug.distributed.channels.inbox import Inbox
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.nats_link import CALL_S, NatsLink
from glowplug.distributed.errors import ChannelClosed, ChannelError

_ACKNOWLEDGED_S = 2.0
_AGAIN_S = 0.05
_REDELIVERED_S = 5.0
_UNACKNOWLEDGED = 256
"""So many messages the server pushes ahead of a receiver."""
_PENDING_BYTES = 2**30
_PURGED_AT_ONCE = 64


def stream_name(run: str) -> str:
    return f"glowplug-{run}"


def subject_name(run: str, target: str) -> str:
    return f"glowplug.{run}.{target}"


class NatsChannel:
    """Owns `link`. A server's messages are kept in a thread of the link's; `receive` waits for them."""

    def __init__(self, run: str, workers: int, worker: int, link: NatsLink, send_timeout_s: float) -> None:
        self.worker = worker
        self.limits = _limits(link.client.max_payload)
        self.meter = Meter()
        self._run = run
        self._checks = KeyChecks(run, workers, worker, self.limits)
        self._link = link
        self._send_timeout_s = send_timeout_s
        self._changed = threading.Condition()
        self._inbox = Inbox()
        self._failure: ChannelError | None = None
        self._first: dict[tuple[int, int], int] = {}
        """Of each layer that is not fenced off, the first place of a message in the stream."""
        self._last = 0
        self._purged = 0
        self._consumer = f"{worker}-{secrets.token_hex(8)}"
        link.wait(self._listen(), CALL_S, f"joining run {run!r}")

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._checks.sending(messages)
        if messages:
            self._link.wait(self._publish(messages), self._send_timeout_s, f"worker {self.worker} sends")
        for _, payload in messages:
            self.meter.sent(memoryview(payload).nbytes)

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self._checks.receiving(wanted)
        until_s = time.monotonic() + timeout_s
        with self._changed:
            self._inbox.await_these(wanted)
            while True:
                found = self._inbox.take(wanted)
                left_s = until_s - time.monotonic()
                if self._failure is not None:
                    raise self._failure
                if found or left_s <= 0 or not wanted:
                    break
                self._changed.wait(left_s)
        for payload in found.values():
            self.meter.received(len(payload))
        return found

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
                self._leave()
            self._link.close()

    def _leave(self) -> None:
        try:
            gone = self._link.stream.delete_consumer(stream_name(self._run), self._consumer)
            self._link.wait(gone, _ACKNOWLEDGED_S, "leaving")
        except ChannelError:
            # It goes with the stream.
            pass

    async def _listen(self) -> None:
        subject = self._link.client.new_inbox()
        await self._link.client.subscribe(subject, cb=self._came, pending_bytes_limit=_PENDING_BYTES)
        await self._link.stream.add_consumer(
            stream_name(self._run),
            api.ConsumerConfig(
                durable_name=self._consumer,
                deliver_subject=subject,
                filter_subject=subject_name(self._run, str(self.worker)),
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=_REDELIVERED_S,
                max_ack_pending=_UNACKNOWLEDGED,
            ),
        )

    async def _came(self, message: Msg) -> None:
        try:
            inside = opened(self._run, message.data)
        except ValueError:
            self.meter.damaged += 1
            inside = []
        self._last = max(self._last, message.metadata.sequence.stream)
        with self._changed:
            for key, payload in inside:
                try:
                    if self._inbox.put(key, payload):
                        self._first.setdefault((key.epoch, key.layer), message.metadata.sequence.stream)
                except ChannelError as error:
                    self._failure = error
            self._changed.notify_all()
        await message.ack()

    async def _publish(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        packed = envelopes(messages, self._link.client.max_payload)
        await asyncio.gather(*(self._until_acknowledged(target, content) for target, content in packed))

    async def _until_acknowledged(self, target: int, content: bytes) -> None:
        while True:
            self.meter.publish(len(content))
            try:
                await self._link.stream.publish(
                    subject_name(self._run, str(target)), content, timeout=_ACKNOWLEDGED_S
                )
                return
            except NoStreamResponseError:
                await self._see_that_the_run_goes_on()
            except (APIError, MaxPayloadError):
                raise
            except (Error, OSError):
                pass
            await asyncio.sleep(_AGAIN_S)

    async def _see_that_the_run_goes_on(self) -> None:
        """A server that has just started does not answer for its streams yet."""
        try:
            await self._link.stream.stream_info(stream_name(self._run))
        except NotFoundError:
            raise ChannelClosed(f"run {self._run!r} is over") from None
        except (Error, OSError):
            pass

    async def _purge(self, before: int) -> None:
        """The stream need not keep what is fenced off, and was acknowledged: it may still come again."""
        try:
            found = await self._link.stream.consumer_info(stream_name(self._run), self._consumer)
            floor = found.ack_floor.stream_seq if found.ack_floor else 0
            await self._link.stream.purge_stream(
                stream_name(self._run),
                seq=min(before, floor + 1),
                subject=subject_name(self._run, str(self.worker)),
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
