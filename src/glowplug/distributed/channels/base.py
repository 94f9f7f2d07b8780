"""How one worker's messages reach another: the interface of every channel.

At least once below, exactly once above: a service may lose an answer, reorder and repeat, and `receive` gives
each key once. Equal keys are equal bytes, so whoever is in doubt sends again.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec

from glowplug.core.errors import InvalidName
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.errors import ChannelClosed, MessageTooLarge

Buffer = bytes | bytearray | memoryview
MOST_WORKERS = 2**16 - 1
NOTES = 2**30
"""Layers from here on are no steps: they number what workers tell each other (`distributed/notes.py`)."""
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")


class MessageKey(msgspec.Struct, frozen=True, order=True):
    """Names one part of what one worker sends another. The same key means the same bytes, always.

    `epoch` grows when a lost worker is replaced; `layer` counts exchanges; `chunk` counts parts of one
    payload, whose number is told in band (`distributed/frame.py`).
    """

    run: str
    epoch: int
    layer: int
    source: int
    target: int
    chunk: int = 0

    def part(self, chunk: int) -> MessageKey:
        return MessageKey(self.run, self.epoch, self.layer, self.source, self.target, chunk)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel takes and what it promises.

    `send` accepts any number of messages up to `max_message_bytes` each, and makes calls to the service of
    at most `max_batch_messages` and `max_batch_bytes`.

    - `ordered`: what one worker sends another comes in that order.
    - `duplicates`: the service may deliver a message twice (`receive` never does).
    - `durable`: what was accepted survives a restart of the service.
    - `replays`: a new end of a worker gets again what its predecessor got and did not fence off; without it,
      senders must send again.
    - `looks_are_calls`: each message that is looked for costs a call to the service, there or not; without
      it, to look for many costs hardly more than to look for one.
    - `slow_s`: what the service takes at times, though it mostly is faster.
    """

    max_message_bytes: int
    max_batch_messages: int
    max_batch_bytes: int
    ordered: bool
    duplicates: bool
    durable: bool
    replays: bool
    looks_are_calls: bool
    slow_s: float = 0.05


class Channel(Protocol):
    """One worker's end. One thread may send while another receives; no other use by two threads at once."""

    @property
    def worker(self) -> int: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def meter(self) -> Meter: ...

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        """All of them are on their way when it returns, and `flush` tells whether they are accepted; in what
        order they come is not said.

        Give everything that a layer sends in one call: calls cost, and some channels put all of it into one.
        Raises MessageTooLarge before anything is sent, ChannelUnavailable when the service does not accept
        them in time, or those before them (send again: receivers drop what came twice), ChannelRefused,
        ChannelMissing, ChannelClosed, and ValueError for keys of another run or worker. Where they are
        accepted later, what goes wrong then is raised by the next call of `send`, `receive` or `flush`.
        """

    def flush(self) -> None:
        """Returns when the service has accepted all that was sent: whoever sent it may be lost now. For any
        thread. Raises what `send` raises for what was sent before."""

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        """At least one of the wanted, or nothing after `timeout_s`, or once one turns out to be left out; 0
        asks once and does not wait.

        What else arrives is kept for a later call. Each key is given once in the life of an end. Raises
        InboxFull when more is kept than allowed, ChannelUnavailable, ChannelRefused, ChannelMissing,
        ChannelClosed, and ValueError for keys of another run or worker.
        """

    def expect(self, first: int, end: int) -> None:
        """What is sent for layers from `first` to before `end` may come long before it is received: however
        much it is, it is kept."""

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        """Those of the wanted that had not come though what their source sends together with them had, at the
        last look: they were lost or are late. Makes no call; none where a channel cannot tell."""

    def reject(self, keys: Collection[MessageKey]) -> None:
        """What came of these was damaged: it counts as not come, and is not kept. They may be sent again."""

    def fence(self, epoch: int, layer: int) -> None:
        """Everything before (epoch, layer) is done with: it is dropped, also when it still comes, and a new
        end of this worker does not get it any more. Memory stays bounded by what is not fenced off."""

    def close(self) -> None:
        """Gives back what this end holds, and no more: what it sent still arrives, if the service is there.
        Twice is once."""


class Address(msgspec.Struct, frozen=True):
    """What another process needs to take its end of a run (`registry.join`). It holds no credentials."""

    channel: str
    run: str
    workers: int
    options: dict[str, Any]


class Room(abc.ABC):
    """All of a run's channel. One process opens and closes it; each worker takes its end.

    A room that was not closed leaves messages behind: `close` of a new room of the same name and options
    removes them, opened or not.
    """

    channel: str
    """Its name in `registry`."""

    def __init__(self) -> None:
        self.run = ""
        self.workers = 0
        self._meter = Meter()

    def open(self, run: str, workers: int) -> Self:
        """Raises RunExists when a run of this name is open, InvalidName, ValueError, ChannelUnavailable,
        ChannelRefused, ChannelMissing; then nothing is left behind."""
        self.join(run, workers)
        self._create()
        return self

    def join(self, run: str, workers: int) -> Self:
        """To take ends of, or to close, a room that was opened elsewhere. Asks nobody."""
        if _RUN_NAME.fullmatch(run) is None:
            raise InvalidName(
                f"run {run!r}: use 1 to 48 of A-Z, a-z, 0-9, - and _, beginning with none of those two"
            )
        if not 1 <= workers <= MOST_WORKERS:
            raise ValueError(f"a run has 1 to {MOST_WORKERS} workers, not {workers}")
        self.run, self.workers = run, workers
        return self

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of this machine, in which folders of runs lie."""
        return ()

    @property
    def meter(self) -> Meter:
        """What opening and closing took."""
        return self._meter

    @property
    def address(self) -> Address:
        return Address(self.channel, self.run, self.workers, self._options())

    def end(self, worker: int) -> Channel:
        """The end of `worker`; a later one of the same worker takes over from it. Raises ChannelError."""
        if not 0 <= worker < self.workers:
            raise ValueError(f"worker {worker} of {self.workers}")
        return self._end(worker)

    def close(self) -> None:
        """Leaves nothing of the run in any broker, store or folder. Ends still open fail. Twice is once."""
        if self.run:
            self._destroy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def _create(self) -> None: ...

    @abc.abstractmethod
    def _end(self, worker: int) -> Channel: ...

    @abc.abstractmethod
    def _destroy(self) -> None: ...

    @abc.abstractmethod
    def _options(self) -> dict[str, Any]: ...


class KeyChecks:
    """What every end checks of the keys that it is given."""

    def __init__(self, run: str, workers: int, worker: int, limits: Limits) -> None:
        self.run, self.workers, self.worker, self.limits = run, workers, worker, limits
        self.closed = False

    def sending(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._open()
        for key, payload in messages:
            if key.run != self.run or key.source != self.worker or not 0 <= key.target < self.workers:
                raise ValueError(f"worker {self.worker} of run {self.run!r} cannot send {key}")
            nbytes = memoryview(payload).nbytes
            if nbytes > self.limits.max_message_bytes:
                raise MessageTooLarge(
                    f"{key}: {nbytes} bytes, and the channel takes {self.limits.max_message_bytes}: "
                    "split the payload, or use a claim check"
                )

    def receiving(self, wanted: Collection[MessageKey]) -> None:
        self._open()
        for key in wanted:
            if key.run != self.run or key.target != self.worker or not 0 <= key.source < self.workers:
                raise ValueError(f"worker {self.worker} of run {self.run!r} cannot receive {key}")

    def _open(self) -> None:
        if self.closed:
            raise ChannelClosed(f"run {self.run!r}: the end of worker {self.worker} is closed")
