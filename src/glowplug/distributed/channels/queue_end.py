"""One worker's end of a scheme whose messages come by polls of its own queue."""

from __future__ import annotations

import abc
from collections.abc import Collection

from glowplug.distributed.channels.base import Limits, MessageKey
from glowplug.distributed.channels.clock import Clock
from glowplug.distributed.channels.inbox_end import InboxEnd
from glowplug.distributed.channels.messaging import Messaging, Received
from glowplug.distributed.channels.poller import Poller


class QueueEnd(InboxEnd):
    """What is common: polled messages are kept, and polls counted by `messaging`."""

    def __init__(
        self, run: str, workers: int, worker: int, messaging: Messaging, clock: Clock, limits: Limits
    ) -> None:
        super().__init__(run, workers, worker, limits, messaging.meter, clock)
        self._messaging = messaging
        self._poller = Poller(
            clock, messaging.poll, lambda late: messaging.release([m.receipt for m in late])
        )

    def _look_for(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        found: dict[MessageKey, bytes] = {}
        if timeout_s <= 0:
            self._take_in(self._poller.once())
            found = self._inbox.take(wanted)
        until_s = self._clock.now_s() + timeout_s
        while not found and self._clock.now_s() < until_s:
            self._take_in(self._poller.next(self._polls(wanted, until_s), until_s))
            found = self._inbox.take(wanted)
        return found

    def _close(self) -> None:
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
    def _opened(self, message: Received) -> list[tuple[MessageKey, bytes]]:
        """Raises ValueError for what is damaged."""

    def _polls(self, wanted: Collection[MessageKey], until_s: float) -> int:
        """How many should be under way while these are missing. May wait, until `until_s`."""
        return 1

    @abc.abstractmethod
    def _taken(self, came: list[Received]) -> None:
        """They are in the inbox."""
