"""One worker's end of a scheme whose messages come by polls of its own queue."""

from __future__ import annotations

import abc
from collections.abc import Collection, Sequence

from glowplug.distributed.channels.base import Buffer, KeyChecks, Limits, MessageKey
from glowplug.distributed.channels.clock import Clock
from glowplug.distributed.channels.inbox import Inbox
from glowplug.distributed.channels.messaging import Messaging, Received
from glowplug.distributed.channels.poller import Poller


class QueueEnd(abc.ABC):
    """What is common: keys are checked, polled messages kept, polls counted by `messaging`."""

    def __init__(
        self, run: str, workers: int, worker: int, messaging: Messaging, clock: Clock, limits: Limits
    ) -> None:
        self.worker = worker
        self.limits = limits
        self.meter = messaging.meter
        self._run = run
        self._checks = KeyChecks(run, workers, worker, limits)
        self._messaging = messaging
        self._clock = clock
        self._inbox = Inbox()
        self._poller = Poller(
            clock, messaging.poll, lambda late: messaging.release([m.receipt for m in late])
        )

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._checks.sending(messages)
        if messages:
            self._send(messages)
        for _, payload in messages:
            self.meter.sent(memoryview(payload).nbytes)

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self._checks.receiving(wanted)
        found = self._inbox.take(wanted)
        if not found and wanted and timeout_s <= 0:
            self._take_in(self._poller.once())
            found = self._inbox.take(wanted)
        until_s = self._clock.now_s() + timeout_s
        while not found and wanted and self._clock.now_s() < until_s:
            self._take_in(self._poller.next(self._polls(wanted, until_s), until_s))
            found = self._inbox.take(wanted)
        for payload in found.values():
            self.meter.received(len(payload))
        return found

    def reject(self, keys: Collection[MessageKey]) -> None:
        self._inbox.reject(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self._inbox.fence(epoch, layer)

    def close(self) -> None:
        if not self._checks.closed:
            self._checks.closed = True
            self._poller.close()
            self._messaging.close()

    def _take_in(self, came: list[Received] | None) -> None:
        if came is None:
            return
        for message in came:
            try:
                inside = self._opened(message)
            except ValueError:
                self.meter.damaged += 1
                continue
            for key, payload in inside:
                # A subscription's filter takes effect with a delay, and until then everything comes.
                if key.target == self.worker:
                    self._inbox.put(key, payload)
        self._taken(came)

    @abc.abstractmethod
    def _send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None: ...

    @abc.abstractmethod
    def _opened(self, message: Received) -> list[tuple[MessageKey, bytes]]:
        """Raises ValueError for what is damaged."""

    def _polls(self, wanted: Collection[MessageKey], until_s: float) -> int:
        """How many should be under way while these are missing. May wait, until `until_s`."""
        return 1

    @abc.abstractmethod
    def _taken(self, came: list[Received]) -> None:
        """They are in the inbox."""
