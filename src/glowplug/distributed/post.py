"""A worker's end of its channel, driven by its exchange: sends, waits, asks again, answers others
meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from glowplug.core.errors import DeadlinePassed
from glowplug.distributed.channels.base import Buffer, Channel, MessageKey
from glowplug.distributed.errors import ChannelUnavailable
from glowplug.distributed.exchange import ATTEMPTS, Exchange
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.notes import Outgoing
from glowplug.distributed.phases import Phases
from glowplug.distributed.stall_time import SILENT, StallTime

Wrap = Callable[[], tuple[Kind, Buffer]]
Parcel = tuple[int, Wrap]
"""A target, and what makes its payload."""
Open = Callable[[int, int, Payload], Any]
"""Makes of a payload, by step and source, what its receiver uses."""
MOST_STALL_S = 8.0
"""A stall doubles the time until the next, up to this."""
LOOK_S = 1.0
"""So long is one wait for a channel at most."""
_RETRY_S = 0.25
T = TypeVar("T")


class Post(Protocol):
    """What a worker's layers need. Every wait ends by the run's deadline at the latest: DeadlinePassed.

    Raises ReplayImpossible, FrameError, and what a channel raises; ChannelUnavailable after it was tried
    again until the deadline.
    """

    def send(self, step: int, parcels: Sequence[Parcel]) -> None: ...

    def wait(self, step: int) -> dict[int, Any]:
        """What came for a step, opened, by source, ascending; blocks until it is all there."""

    def wait_until(self, targets: Iterable[int], step: int, most_stalls: int | None = None) -> None:
        """Blocks until all targets have come to `step`, or nothing was heard for so many stalls."""

    def done(self, step: int) -> None:
        """A checkpoint holds what was made of all before `step`; sources hear of it where they wait for
        that."""

    def flush(self) -> None:
        """Blocks until all that was sent is with the channel."""

    def close(self) -> None:
        """Ends what runs beside the worker. The channel stays open."""


class Timing:
    """The run's deadline, and how long to wait until what is missing is asked for again.

    `begin` and `end` frame each wait. Those for a step go by the pace of the steps before, which they learn;
    others by `stall_s`, as does the first.
    """

    def __init__(
        self,
        stall_s: float,
        floor_s: float,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`deadline_s` is as `clock` tells it."""
        self.deadline_s = deadline_s
        self.stalls = 0
        self.now_s, self._sleep = clock, sleep
        self._first_s = self._stall_s = stall_s
        self._learned = StallTime(stall_s, min(floor_s, stall_s), MOST_STALL_S)
        self._quiet_at_s = self._stall_at_s = 0.0
        self._for_step = False

    @property
    def longest_look_s(self) -> float:
        """For who does not see what is asked for meanwhile."""
        return min(self._learned.seconds, LOOK_S)

    def begin(self, *, for_step: bool) -> None:
        self._for_step = for_step
        self.heard()

    def heard(self) -> None:
        """Something of what is waited for came."""
        self.stalls = 0
        self._stall_s = self._learned.seconds if self._for_step else self._first_s
        now_s = self.now_s()
        self._quiet_at_s, self._stall_at_s = now_s + self._stall_s / SILENT, now_s + self._stall_s

    def end(self) -> None:
        """All of it is there."""
        if self._for_step:
            self._learned.came(self.now_s())

    def is_quiet(self) -> bool:
        """Whether nothing came for so long that something may be wrong."""
        return self.stalls > 0 or self.now_s() >= self._quiet_at_s

    def is_stalled(self) -> bool:
        """Whether it is time to ask; if so, the next time comes later."""
        now_s = self.now_s()
        if now_s < self._stall_at_s:
            return False
        self.stalls += 1
        self._stall_s = min(2 * self._stall_s, MOST_STALL_S)
        self._stall_at_s = now_s + self._stall_s
        return True

    def look_s(self) -> float:
        """How long to wait now."""
        now_s = self.now_s()
        next_s = self._stall_at_s if self.is_quiet() else self._quiet_at_s
        return max(0.0, min(next_s - now_s, self.deadline_s - now_s, LOOK_S))

    def check(self, what: Callable[[], str]) -> None:
        if self.now_s() >= self.deadline_s:
            raise DeadlinePassed(f"the run's time is up, and {what()}")

    def patiently(self, call: Callable[[], T]) -> T:
        """Again and again while the service does not answer, until the deadline."""
        while True:
            try:
                return call()
            except ChannelUnavailable:
                if self.now_s() + _RETRY_S >= self.deadline_s:
                    raise
                self._sleep(_RETRY_S)


class Wire:
    """A channel and an exchange together; not for several threads but as a channel is.

    With `tells`, workers tell each other what they need again and what not. On a `polled` channel each
    message that is looked for costs a call, so there this is looked for only when nothing else comes.
    """

    def __init__(
        self, channel: Channel, exchange: Exchange, timing: Timing, *, tells: bool, polled: bool = False
    ) -> None:
        self.exchange, self.timing = exchange, timing
        self.polled = polled
        self._channel, self._tells = channel, tells
        self._epoch = exchange.place.epoch * ATTEMPTS
        channel.fence(self._epoch, exchange.first)

    def greeting(self) -> Outgoing:
        """What a new incarnation has to say before anything else."""
        is_new = self.exchange.place.incarnation > 0
        return self.exchange.rejoin() if is_new and not self._channel.limits.replays else []

    def farewell(self, step: int) -> Outgoing:
        """What sources are to hear of what is done before `step`."""
        return self.exchange.done(step) if self._tells else []

    def wanted(self, step: int | None, *, is_quiet: bool, is_stalled: bool) -> set[MessageKey]:
        """For a step, or without one what others say of what they need: as far as it is worth a look. In a
        silence that is what tells of a loss: that a source went on, or that it needs something itself."""
        exchange = self.exchange
        wanted = set() if step is None else exchange.wanted(step)
        if step is not None and exchange.keep and (is_quiet or not self.polled):
            wanted |= exchange.wanted_ahead(step)
        if self._tells and (is_stalled or not self.polled):
            wanted |= exchange.wanted_notes()
        elif self._tells and is_quiet and step is not None:
            wanted |= exchange.wanted_notes(exchange.missing(step))
        return wanted

    def send(self, messages: Outgoing) -> None:
        if messages:
            self.timing.patiently(lambda: self._channel.send(messages))

    def receive(self, wanted: set[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        return self.timing.patiently(lambda: self._channel.receive(wanted, timeout_s))

    def reject(self, keys: Sequence[MessageKey]) -> None:
        if keys:
            self._channel.reject(keys)

    def fence(self, step: int) -> None:
        self.timing.patiently(lambda: self._channel.fence(self._epoch, step))


class InlinePost:
    """All in the caller's thread: the least delay, where what comes needs no help to come."""

    def __init__(self, wire: Wire, open_payload: Open, phases: Phases) -> None:
        self._wire, self._open, self._phases = wire, open_payload, phases
        self._exchange, self._timing = wire.exchange, wire.timing
        wire.send(wire.greeting())

    def send(self, step: int, parcels: Sequence[Parcel]) -> None:
        with self._phases.of("encode"):
            payloads = [(target, *wrap()) for target, wrap in parcels]
        with self._phases.of("send"):
            self._wire.send([message for each in payloads for message in self._exchange.send(step, *each)])

    def wait(self, step: int) -> dict[int, Any]:
        with self._phases.of("wait"):
            self._wait(step, lambda: not self._exchange.missing(step))
        with self._phases.of("decode"):
            came = self._exchange.take(step)
            return {source: self._open(step, source, payload) for source, payload in came.items()}

    def wait_until(self, targets: Iterable[int], step: int, most_stalls: int | None = None) -> None:
        waiting = list(targets)
        with self._phases.of("room"):
            self._wait(
                None,
                lambda: (
                    all(self._exchange.reached(target) >= step for target in waiting)
                    or self._timing.stalls == most_stalls
                ),
            )

    def done(self, step: int) -> None:
        self._wire.send(self._wire.farewell(step))
        self._wire.fence(step)

    def flush(self) -> None:
        """It is."""

    def close(self) -> None:
        """Nothing does."""

    def _wait(self, step: int | None, is_over: Callable[[], bool]) -> None:
        self._timing.begin(for_step=step is not None)
        while not is_over():
            self._timing.check(lambda: what_is_missing(self._exchange, step))
            if self._timing.is_stalled() and step is not None:
                self._wire.send(self._exchange.ask_again(step))
            quiet, stalled = self._timing.is_quiet(), step is None or self._timing.stalls > 0
            wanted = self._wire.wanted(step, is_quiet=quiet, is_stalled=stalled)
            came = self._wire.receive(wanted, self._timing.look_s())
            self._wire.send(self._exchange.deliver(came))
            self._wire.reject(self._exchange.take_rejected())
            if step is not None:
                self._wire.send(self._exchange.ask_overtaken(step))
            if any(step is None or key.layer == step for key in came):
                self._timing.heard()
        self._timing.end()


def what_is_missing(exchange: Exchange, step: int | None) -> str:
    if step is None:
        return "others are too far behind"
    return f"workers {exchange.missing(step)} did not send what step {step} needs"
