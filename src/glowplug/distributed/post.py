"""A worker's end of its channel, driven by its exchange: sends, waits, asks again, answers others
meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from glowplug.distributed.channels.base import Buffer, Channel, MessageKey
from glowplug.distributed.exchange import Exchange
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.notes import Outgoing
from glowplug.distributed.phases import Phases
from glowplug.distributed.timing import Timing

Wrap = Callable[[], tuple[Kind, Buffer]]
Parcel = tuple[int, Wrap]
"""A target, and what makes its payload."""
Open = Callable[[int, int, Payload], Any]
"""Makes of a payload, by step and source, what its receiver uses."""


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

    def settle(self, step: int) -> None:
        """Blocks until all that others wait for of the steps before `step` is with the channel: nobody could
        send it again who begins there."""

    def flush(self) -> None:
        """Blocks until all that was sent is with the channel. There is nothing more to send for any step."""

    def close(self) -> None:
        """Ends what runs beside the worker. The channel stays open."""


class Wire:
    """A channel and an exchange together; not for several threads but as a channel is.

    With `tells`, workers tell each other what they need again and what not. Where `looks_are_calls`, this is
    looked for only when nothing else comes.
    """

    def __init__(self, channel: Channel, exchange: Exchange, timing: Timing, *, tells: bool) -> None:
        self.exchange, self.timing = exchange, timing
        self.looks_are_calls = exchange.looks_are_calls
        self._channel, self._tells = channel, tells
        channel.fence(exchange.epoch, exchange.first)

    def expect(self, first: int, end: int) -> None:
        """What sources send for steps from `first` to before `end` may come at any time, however much it is,
        while others are waited for or nobody is."""
        self._channel.expect(first, end)

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
        if step is not None and exchange.keep:
            left_out = self._left_out(step)
            if is_quiet or not self.looks_are_calls:
                wanted |= exchange.wanted_ahead(step, left_out)
            else:
                wanted |= exchange.wanted_answers(step, left_out)
        if self._tells and (is_stalled or not self.looks_are_calls):
            wanted |= exchange.wanted_notes(stalls=self.timing.stalls)
        elif self._tells and step is not None and (is_quiet or self._expects_notes(step)):
            wanted |= exchange.wanted_notes(exchange.missing(step), self.timing.stalls)
        return wanted

    def overdue(self, step: int, *, is_quiet: bool) -> Outgoing:
        """Requests, once, for what must be lost, or as good as lost: its source went on, or has left it out
        and it is quiet."""
        return self.exchange.ask_overtaken(step, self._left_out(step) if is_quiet else ())

    def send(self, messages: Outgoing) -> None:
        if messages:
            self.timing.patiently(lambda: self._channel.send(messages))

    def flush(self) -> None:
        self.timing.patiently(self._channel.flush)

    def receive(self, wanted: set[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        return self.timing.patiently(lambda: self._channel.receive(wanted, timeout_s))

    def reject(self, keys: Sequence[MessageKey]) -> None:
        if keys:
            self._channel.reject(keys)

    def fence(self, step: int) -> None:
        self.timing.patiently(lambda: self._channel.fence(self.exchange.epoch, step))

    def _expects_notes(self, step: int) -> bool:
        """Who was asked once will be asked again, and by the last that it waits for: that one misses
        something."""
        return self.exchange.sent_again > 0 and len(self.exchange.missing(step)) == 1

    def _left_out(self, step: int) -> set[int]:
        return {key.source for key in self._channel.left_out(self.exchange.wanted(step))}


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

    def settle(self, step: int) -> None:
        self._wire.flush()

    def flush(self) -> None:
        self._wire.flush()

    def close(self) -> None:
        """Nothing does."""

    def _wait(self, step: int | None, is_over: Callable[[], bool]) -> None:
        self._timing.begin(for_step=step is not None)
        while not is_over():
            self._timing.check(lambda: what_is_missing(self._exchange, step))
            if self._timing.is_stalled() and step is not None:
                self._wire.send(self._exchange.ask_again(step))
            quiet, stalled = self._timing.is_quiet(), step is None or self._timing.stalls > 0
            if step is not None:
                self._wire.send(self._wire.overdue(step, is_quiet=quiet))
            wanted = self._wire.wanted(step, is_quiet=quiet, is_stalled=stalled)
            came = self._wire.receive(wanted, self._timing.look_s())
            self._wire.send(self._exchange.deliver(came))
            self._wire.reject(self._exchange.take_rejected())
            if any(step is None or key.layer == step for key in came):
                self._timing.heard()
        self._timing.end()


def what_is_missing(exchange: Exchange, step: int | None) -> str:
    if step is None:
        return "others are too far behind"
    return f"workers {exchange.missing(step)} did not send what step {step} needs"
