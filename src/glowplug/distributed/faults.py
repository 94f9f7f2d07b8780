"""What can go wrong between workers, done on purpose: a channel that disturbs another, and a sudden end."""

from __future__ import annotations

import heapq
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence

import msgspec

from glowplug.distributed.channels.base import Buffer, Channel, MessageKey
from glowplug.distributed.start import Place

_LOOK_S, _SHORT_S = 0.02, 0.001
"""Who waits looks at least so often, and at most, whether what was delayed is due."""


class Kill(msgspec.Struct, frozen=True):
    """The end of one process, before it begins with a step or one after it: like a machine that is gone."""

    worker: int
    step: int
    epoch: int = 0
    incarnation: int = 0

    @property
    def of(self) -> tuple[int, int, int]:
        return self.worker, self.epoch, self.incarnation


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the messages that meet each; `seed` and a worker's place decide which. Delays are even up
    to `delay_s`.

    A message that is `late` is held back until others have overtaken it.
    """

    seed: int = 0
    drop: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    late: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.05
    kills: tuple[Kill, ...] = ()

    @property
    def disturbs(self) -> bool:
        return max(self.drop, self.duplicate, self.corrupt, self.late, self.delay) > 0


def disturbed(channel: Channel, faults: Faults, place: Place) -> Channel:
    """`channel`, or one that disturbs it."""
    if not faults.disturbs:
        return channel
    return FaultyChannel(channel, faults, place)


def end_here(faults: Faults, place: Place, step: int) -> None:
    """Ends this process at once where `faults` want it."""
    for kill in faults.kills:
        if kill.step <= step and kill.of == (place.worker, place.epoch, place.incarnation):
            os.kill(os.getpid(), signal.SIGKILL)


class FaultyChannel:
    """Disturbs what is sent, so that the promises of the channel below do not hold any more."""

    def __init__(
        self, channel: Channel, faults: Faults, place: Place, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.worker = channel.worker
        self.limits = channel.limits
        self.meter = channel.meter
        self._channel, self._faults, self._clock = channel, faults, clock
        self._sending = threading.Lock()  # what is held back goes on from the thread that receives, too
        self._random = random.Random(f"{faults.seed} {place}")
        self._delayed: list[tuple[float, int, MessageKey, bytes]] = []
        self._overtaken: list[tuple[MessageKey, bytes]] = []
        self._count = 0

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        with self._sending:
            held, self._overtaken = self._overtaken, []
            sent: list[tuple[MessageKey, Buffer]] = []
            for key, payload in messages:
                sent += self._fate(key, bytes(payload))
            self._random.shuffle(sent)
            self._pass_on([*sent, *held, *self._due()])

    def flush(self) -> None:
        self._channel.flush()

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        until_s = self._clock() + timeout_s
        left_out = self.left_out(wanted)
        while True:
            with self._sending:
                held, self._overtaken = self._overtaken, []
                self._pass_on([*held, *self._due()])
                wait_s = timeout_s
                if self._delayed:
                    wait_s = min(_LOOK_S, max(_SHORT_S, self._delayed[0][0] - self._clock()))
            left_s = max(0.0, until_s - self._clock())
            came = self._channel.receive(wanted, min(left_s, wait_s))
            if came or self._clock() >= until_s or self.left_out(wanted) - left_out:
                return came

    def expect(self, first: int, end: int) -> None:
        self._channel.expect(first, end)

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        return self._channel.left_out(wanted)

    def reject(self, keys: Collection[MessageKey]) -> None:
        self._channel.reject(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self._channel.fence(epoch, layer)

    def close(self) -> None:
        """What was held back comes late, but it comes."""
        held = [*self._overtaken, *(each[2:] for each in sorted(self._delayed, key=lambda each: each[:2]))]
        self._pass_on(held)
        self._channel.close()

    def _pass_on(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        if messages:
            self._channel.send(messages)

    def _fate(self, key: MessageKey, payload: bytes) -> list[tuple[MessageKey, Buffer]]:
        """What becomes of one message; what is held back is kept aside."""
        faults, draw = self._faults, self._random.random
        if draw() < faults.drop:
            return []
        if draw() < faults.corrupt:
            payload = self._damaged(payload)
        if draw() < faults.delay:
            self._count += 1
            due_s = self._clock() + draw() * faults.delay_s
            heapq.heappush(self._delayed, (due_s, self._count, key, payload))
            return []
        if draw() < faults.late:
            self._overtaken.append((key, payload))
            return []
        return [(key, payload)] * (2 if draw() < faults.duplicate else 1)

    def _damaged(self, payload: bytes) -> bytes:
        at = self._random.randrange(len(payload))
        return payload[:at] + bytes([payload[at] ^ (1 << self._random.randrange(8))]) + payload[at + 1 :]

    def _due(self) -> list[tuple[MessageKey, bytes]]:
        found = []
        while self._delayed and self._delayed[0][0] <= self._clock():
            found.append(heapq.heappop(self._delayed)[2:])
        return found
