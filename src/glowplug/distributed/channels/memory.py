"""Between threads of one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from glowplug.distributed.channels.base import Buffer, KeyChecks, Limits, MessageKey, Room
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.errors import ChannelClosed, ChannelMissing, InboxFull, RunExists

LIMITS = Limits(
    max_message_bytes=2**30,
    max_batch_messages=2**20,
    max_batch_bytes=2**40,
    ordered=True,
    duplicates=False,
    durable=False,
    replays=True,
    looks_are_calls=False,
    slow_s=0.01,
)
MAILBOX_BYTES = 2**30


class _Mailbox:
    """What is addressed to one worker and not fenced off, whether it was received or not."""

    def __init__(self, allowed_bytes: int) -> None:
        self.changed = threading.Condition()
        self.held: dict[MessageKey, bytes] = {}
        self.held_bytes = 0
        self.fence = (0, 0)
        self.allowed_bytes = allowed_bytes
        self.gone = False

    def put(self, key: MessageKey, payload: bytes) -> None:
        with self.changed:
            if key in self.held or (key.epoch, key.layer) < self.fence:
                return
            if self.held_bytes + len(payload) > self.allowed_bytes:
                raise InboxFull(
                    f"worker {key.target} holds {self.held_bytes} bytes that it did not fence off: {key} "
                    f"exceeds its {self.allowed_bytes}"
                )
            self.held[key] = payload
            self.held_bytes += len(payload)
            self.changed.notify_all()

    def drop(self, keys: Collection[MessageKey]) -> None:
        with self.changed:
            for key in keys:
                self.held_bytes -= len(self.held.pop(key, b""))

    def drop_before(self, fence: tuple[int, int]) -> None:
        with self.changed:
            self.fence = max(self.fence, fence)
            self.drop([key for key in self.held if (key.epoch, key.layer) < self.fence])


_rooms: dict[str, list[_Mailbox]] = {}
_rooms_lock = threading.Lock()


class MemoryRoom(Room):
    """Mailboxes in this process. Raises InboxFull at the sender when a receiver is too far behind. Who is the
    only worker of its run has one wherever it is."""

    channel = "memory"

    def __init__(self, mailbox_bytes: int = MAILBOX_BYTES) -> None:
        super().__init__()
        self._mailbox_bytes = mailbox_bytes

    def _create(self) -> None:
        with _rooms_lock:
            if self.run in _rooms:
                raise RunExists(f"run {self.run!r} is open in this process: close it, or use another name")
            _rooms[self.run] = [_Mailbox(self._mailbox_bytes) for _ in range(self.workers)]

    def _end(self, worker: int) -> MemoryChannel:
        with _rooms_lock:
            mailboxes = _rooms.get(self.run)
        if mailboxes is None and self.workers == 1:
            mailboxes = [_Mailbox(self._mailbox_bytes)]
        if mailboxes is None:
            raise ChannelMissing(f"run {self.run!r} is not open in this process")
        return MemoryChannel(self.run, worker, mailboxes)

    def _destroy(self) -> None:
        with _rooms_lock:
            mailboxes = _rooms.pop(self.run, [])
        for mailbox in mailboxes:
            with mailbox.changed:
                mailbox.gone = True
                mailbox.changed.notify_all()

    def _options(self) -> dict[str, Any]:
        return {"mailbox_bytes": self._mailbox_bytes}


class MemoryChannel:
    limits = LIMITS

    def __init__(self, run: str, worker: int, mailboxes: list[_Mailbox]) -> None:
        self.worker = worker
        self.meter = Meter()
        self._checks = KeyChecks(run, len(mailboxes), worker, LIMITS)
        self._mailboxes = mailboxes
        self._given: set[MessageKey] = set()

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._checks.sending(messages)
        for key, payload in messages:
            mailbox = self._mailboxes[key.target]
            if mailbox.gone:
                raise ChannelClosed(f"run {key.run!r} is over")
            content = bytes(payload)
            mailbox.put(key, content)
            self.meter.sent(len(content))

    def flush(self) -> None:
        """It is."""

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self._checks.receiving(wanted)
        mailbox = self._mailboxes[self.worker]
        until_s = time.monotonic() + timeout_s
        with mailbox.changed:
            while True:
                if mailbox.gone or self._checks.closed:
                    raise ChannelClosed(f"run {self._checks.run!r}: closed while worker {self.worker} waited")
                found = {
                    key: mailbox.held[key] for key in wanted if key in mailbox.held and key not in self._given
                }
                left_s = until_s - time.monotonic()
                if found or left_s <= 0 or not wanted:
                    break
                mailbox.changed.wait(left_s)
        self._given.update(found)
        for payload in found.values():
            self.meter.received(len(payload))
        return found

    def expect(self, first: int, end: int) -> None:
        """It is: as much as the mailbox holds."""

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        return set()

    def reject(self, keys: Collection[MessageKey]) -> None:
        self._mailboxes[self.worker].drop(keys)
        self._given.difference_update(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self._mailboxes[self.worker].drop_before((epoch, layer))
        self._given = {key for key in self._given if (key.epoch, key.layer) >= (epoch, layer)}

    def close(self) -> None:
        self._checks.closed = True
        with self._mailboxes[self.worker].changed:
            self._mailboxes[self.worker].changed.notify_all()
