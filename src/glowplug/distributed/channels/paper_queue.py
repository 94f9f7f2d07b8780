"""The queue scheme of FSD-Inference (arXiv 2403.15195), as a baseline: as good as theirs, and no better.

Ten topics, of which a sender has the one of its number mod 10; a queue for each worker, subscribed to all
with a filter on the target; at most 10 messages and 256 KB a publish, filled in order; a message for each
target also where there is nothing to send; long polls, one at a time; what was received is deleted. Bodies
are binary here, though theirs are text: what they lose by that is not to be our gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from glowplug.distributed.channels.base import Buffer, Limits, MessageKey, Room
from glowplug.distributed.channels.clock import Clock, RealClock
from glowplug.distributed.channels.envelope import RECORD_BYTES, envelopes, opened
from glowplug.distributed.channels.messaging import (
    MOST_BYTES,
    MOST_MESSAGES,
    OVERHEAD_BYTES,
    Entry,
    MessagingService,
    Received,
)
from glowplug.distributed.channels.queue_end import QueueEnd
from glowplug.distributed.errors import ChannelError

TOPICS = 10
LIMITS = Limits(
    max_message_bytes=MOST_BYTES - OVERHEAD_BYTES - RECORD_BYTES,
    max_batch_messages=MOST_MESSAGES,
    max_batch_bytes=MOST_BYTES,
    ordered=False,
    duplicates=True,
    durable=True,
    replays=False,
    looks_are_calls=False,
)


class PaperQueueRoom(Room):
    channel = "paper_queue"

    def __init__(self, service: MessagingService, clock: Clock | None = None) -> None:
        super().__init__()
        self._service = service
        self._clock = clock or RealClock()
        self._meter = service.meter

    def _create(self) -> None:
        self._service.open(self.run, self.workers, TOPICS)

    def _end(self, worker: int) -> PaperQueueChannel:
        messaging = self._service.connect(self.run, self.workers, worker)
        return PaperQueueChannel(self.run, self.workers, worker, messaging, self._clock, LIMITS)

    def _destroy(self) -> None:
        self._service.remove(self.run, self.workers, TOPICS)

    def _options(self) -> dict[str, Any]:
        return dict(self._service.options())


class PaperQueueChannel(QueueEnd):
    def _send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        calls: list[list[Entry]] = []
        filled_bytes = 0
        for key, payload in messages:
            entry = Entry(key.target, envelopes([(key, payload)], MOST_BYTES)[0][1])
            if not calls or len(calls[-1]) == MOST_MESSAGES or filled_bytes + entry.topic_bytes > MOST_BYTES:
                calls.append([])
                filled_bytes = 0
            calls[-1].append(entry)
            filled_bytes += entry.topic_bytes
        self._messaging.publish(self.worker % TOPICS, calls)

    def _opened(self, message: Received) -> list[tuple[MessageKey, bytes]]:
        return opened(self._run, message.content)

    def _taken(self, came: list[Received]) -> None:
        if came:
            # Beside the worker: nothing waits for it.
            self._clock.spawn(partial(self._delete, [message.receipt for message in came]))

    def _delete(self, receipts: list[str]) -> None:
        try:
            self._messaging.delete(receipts)
        except ChannelError:
            # They come again, and are dropped by their keys.
            pass
