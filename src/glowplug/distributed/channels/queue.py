"""Our scheme over topics and queues: few calls, binary bodies, nothing sent that is not needed.

- One topic. A layer's small messages to many targets go in one publish (target-packed); a large one goes
  straight to its target's queue, which is cheaper from `straight_above_bytes` on.
- A target's messages of one send share an envelope; null notices are frames like any (`frame.py`).
- A worker polls only when it waits, and lets the messages of a layer gather before (`patience.py`), unless it
  also waits for notes, which tell of what was lost; then it makes as many polls at a time as must follow.
- Nothing is deleted while a run lasts: a message that was received stays hidden until the queue goes, unless
  so many are hidden that the service would refuse more. One that is lost with its receiver, or on its way
  from a poll, is sent again by its sender, if that keeps it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

from glowplug.distributed.channels.base import NOTES, Buffer, Limits, MessageKey, Room
from glowplug.distributed.channels.clock import Clock, RealClock
from glowplug.distributed.channels.envelope import RECORD_BYTES, batches, envelopes, opened
from glowplug.distributed.channels.messaging import (
    MOST_BYTES,
    MOST_MESSAGES,
    OVERHEAD_BYTES,
    Entry,
    Messaging,
    MessagingService,
    Received,
)
from glowplug.distributed.channels.patience import Patience
from glowplug.distributed.channels.queue_end import QueueEnd

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
STRAIGHT_ABOVE_BYTES = 3584
"""A tenth of a publish and 9.8e-11 $ a byte through a topic cost more than a call of 4e-7 $ from here on."""
MOST_HIDDEN = 100_000
"""SQS refuses to hide more than 120,000 messages of a queue."""
POLLS_AT_A_TIME = 4
_TOPIC = 0


class QueueRoom(Room):
    """Over a messaging service. `straight_above_bytes` None sends everything through the topic; without
    `patient` a worker polls as soon as it waits, which is quicker by a little and costs more polls."""

    channel = "queue"

    def __init__(
        self,
        service: MessagingService,
        clock: Clock | None = None,
        straight_above_bytes: int | None = STRAIGHT_ABOVE_BYTES,
        patient: bool = True,
    ) -> None:
        super().__init__()
        self._service = service
        self._clock = clock or RealClock()
        self._straight_above_bytes = straight_above_bytes
        self._patient = patient
        self._meter = service.meter

    def _create(self) -> None:
        self._service.open(self.run, self.workers, topics=1)

    def _end(self, worker: int) -> QueueChannel:
        messaging = self._service.connect(self.run, self.workers, worker)
        return QueueChannel(
            self.run, self.workers, worker, messaging, self._clock, self._straight_above_bytes, self._patient
        )

    def _destroy(self) -> None:
        self._service.remove(self.run, self.workers, topics=1)

    def _options(self) -> dict[str, Any]:
        return {
            "straight_above_bytes": self._straight_above_bytes,
            "patient": self._patient,
            **self._service.options(),
        }


class QueueChannel(QueueEnd):
    def __init__(
        self,
        run: str,
        workers: int,
        worker: int,
        messaging: Messaging,
        clock: Clock,
        straight_above_bytes: int | None,
        patient: bool,
    ) -> None:
        super().__init__(run, workers, worker, messaging, clock, LIMITS)
        self._straight_above_bytes = straight_above_bytes
        self._patience = Patience() if patient else None
        self._hidden: deque[str] = deque()
        self._full = False
        self._late = False

    def _send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        packed = [
            Entry(target, content) for target, content in envelopes(messages, MOST_BYTES - OVERHEAD_BYTES)
        ]
        above = self._straight_above_bytes
        straight = [entry for entry in packed if above is not None and len(entry.content) > above]
        through = [entry for entry in packed if above is None or len(entry.content) <= above]
        if through:
            sized = ((entry, entry.topic_bytes) for entry in through)
            self._messaging.publish(_TOPIC, batches(sized, MOST_MESSAGES, MOST_BYTES))
        if straight:
            self._messaging.send([[entry] for entry in straight])

    def _opened(self, message: Received) -> list[tuple[MessageKey, bytes]]:
        return opened(self._run, message.content)

    def _polls(self, wanted: Collection[MessageKey], until_s: float) -> int:
        now_s = self._clock.now_s()
        begins = False
        if self._patience is not None and all(key.layer < NOTES for key in wanted):
            layer = max((key.epoch, key.layer) for key in wanted)
            begins = self._patience.begins(layer, now_s, alone=len({key.source for key in wanted}) == 1)
            if begins:
                self._clock.sleep(min(self._patience.poll_at_s, until_s) - now_s)
        self._late = not begins and not self._full
        return 1 if self._late else min(-(-len(wanted) // MOST_MESSAGES), POLLS_AT_A_TIME)

    def _taken(self, came: list[Received]) -> None:
        if came and self._patience is not None:
            self._patience.came(self._clock.now_s(), self._late)
        self._full = len(came) == MOST_MESSAGES
        self._hidden.extend(message.receipt for message in came)
        while len(self._hidden) > MOST_HIDDEN:
            self._messaging.delete([self._hidden.popleft() for _ in range(MOST_MESSAGES)])
