"""Sending beside computing: `send` returns at once, and another task sends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Sequence

from glowplug.distributed.channels.base import Buffer, Channel, MessageKey
from glowplug.distributed.channels.clock import Clock, RealClock
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.errors import ChannelUnavailable

MOST_SENDS = 8
"""What waits to be sent is bounded: a sender that is so many layers ahead waits."""
FLUSH_S = 60.0


class BackgroundChannel:
    """Another channel, whose sends go on in the background, in their order.

    What is given to `send` may not change until `flush`. An error of a send is raised by the next call of
    whatever kind, and what was sent after it is dropped: senders send again.
    """

    def __init__(self, inner: Channel, clock: Clock | None = None, flush_s: float = FLUSH_S) -> None:
        self.worker = inner.worker
        self.limits = inner.limits
        self._inner = inner
        self._clock = clock or RealClock()
        self._flush_s = flush_s
        self._waiting: deque[Sequence[tuple[MessageKey, Buffer]]] = deque()
        self._lock = threading.Lock()
        self._sending = False
        self._less = self._clock.gate()
        self._error: Exception | None = None

    @property
    def meter(self) -> Meter:
        return self._inner.meter

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        """Raises ChannelUnavailable when so much waits to be sent, and does not get less."""
        self._raise()
        self._wait_until_at_most(MOST_SENDS - 1)
        with self._lock:
            self._waiting.append(messages)
            begin, self._sending = not self._sending, True
        if begin:
            self._clock.spawn(self._send_all)

    def flush(self) -> None:
        """Returns when all that was given is accepted. Raises what a send raised, and ChannelUnavailable."""
        self._wait_until_at_most(0)
        self._raise()
        self._inner.flush()

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self._raise()
        return self._inner.receive(wanted, timeout_s)

    def expect(self, first: int, end: int) -> None:
        self._inner.expect(first, end)

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        return self._inner.left_out(wanted)

    def reject(self, keys: Collection[MessageKey]) -> None:
        self._inner.reject(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self._inner.fence(epoch, layer)

    def close(self) -> None:
        """Sends what waits, unless that fails, and closes the inner channel."""
        try:
            self._wait_until_at_most(0)
        finally:
            self._inner.close()

    def _send_all(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._error is not None:
                    self._waiting.clear()
                    self._sending = False
                    break
                messages = self._waiting[0]
            try:
                self._inner.send(messages)
            except Exception as error:
                self._error = error
                continue
            with self._lock:
                self._waiting.popleft()
            self._less.set()
        self._less.set()

    def _wait_until_at_most(self, sends: int) -> None:
        until_s = self._clock.now_s() + self._flush_s
        while len(self._waiting) > sends:
            self._less.clear()
            left_s = until_s - self._clock.now_s()
            if len(self._waiting) > sends and not self._less.wait(left_s) and left_s <= 0:
                raise ChannelUnavailable(
                    f"worker {self.worker}: {len(self._waiting)} sends were not accepted in {self._flush_s} s"
                )

    def _raise(self) -> None:
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise error
