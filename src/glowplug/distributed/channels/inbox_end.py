"""One worker's end of a scheme that looks for what it wants itself, and keeps what else it finds."""

from __future__ import annotations

import abc
from collections.abc import Collection, Sequence

from glowplug.distributed.channels.base import Buffer, KeyChecks, Limits, MessageKey
from glowplug.distributed.channels.clock import Clock
from glowplug.distributed.channels.inbox import Inbox
from glowplug.distributed.channels.meter import Meter


class InboxEnd(abc.ABC):
    """What is common: keys are checked, messages counted, and what came lies in an inbox until wanted."""

    def __init__(
        self, run: str, workers: int, worker: int, limits: Limits, meter: Meter, clock: Clock
    ) -> None:
        self.worker = worker
        self.limits = limits
        self.meter = meter
        self._run = run
        self._checks = KeyChecks(run, workers, worker, limits)
        self._clock = clock
        self._inbox = Inbox()

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._checks.sending(messages)
        if messages:
            self._send(messages)
        for _, payload in messages:
            self.meter.sent(memoryview(payload).nbytes)

    def flush(self) -> None:  # noqa: B027 - what `_send` returned from is accepted
        """It is."""

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self._checks.receiving(wanted)
        found = self._inbox.take(wanted)
        if not found and wanted:
            self._inbox.await_these(wanted)
            found = self._look_for(wanted, timeout_s)
        for payload in found.values():
            self.meter.received(len(payload))
        return found

    def expect(self, first: int, end: int) -> None:
        self._inbox.expect(first, end)

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        return set()

    def reject(self, keys: Collection[MessageKey]) -> None:
        self._inbox.reject(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self._inbox.fence(epoch, layer)

    def close(self) -> None:
        if not self._checks.closed:
            self._checks.closed = True
            self._close()

    @abc.abstractmethod
    def _send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None: ...

    @abc.abstractmethod
    def _look_for(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        """Out of the inbox, once some have come; nothing after `timeout_s`, of which 0 looks once."""

    @abc.abstractmethod
    def _close(self) -> None: ...
