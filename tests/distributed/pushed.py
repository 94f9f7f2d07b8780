"""A channel over which what is sent comes into an inbox at once, as over NATS, with room for little."""

from __future__ import annotations

from collections.abc import Collection

from glowplug.distributed.channels.base import MessageKey
from glowplug.distributed.channels.inbox import Inbox
from glowplug.distributed.channels.memory import MemoryChannel, MemoryRoom

_LOOK_S = 0.01


class PushedTo(MemoryChannel):
    inbox: Inbox

    def push(self) -> None:
        """What was sent by now comes."""
        mailbox = self._mailboxes[self.worker]
        with mailbox.changed:
            there = list(mailbox.held)
        for key, payload in super().receive(there, 0.0).items():
            self.inbox.put(key, payload)

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self.inbox.await_these(wanted)
        self.push()
        found = self.inbox.take(wanted)
        if not found and timeout_s > 0:
            changed = self._mailboxes[self.worker].changed
            with changed:
                changed.wait(min(timeout_s, _LOOK_S))
        return found

    def expect(self, first: int, end: int) -> None:
        self.inbox.expect(first, end)

    def reject(self, keys: Collection[MessageKey]) -> None:
        super().reject(keys)
        self.inbox.reject(keys)

    def fence(self, epoch: int, layer: int) -> None:
        super().fence(epoch, layer)
        self.inbox.fence(epoch, layer)


class PushedRoom(MemoryRoom):
    """`ends` are the last of each worker."""

    def __init__(self, kept_bytes: int) -> None:
        super().__init__()
        self.kept_bytes = kept_bytes
        self.ends: dict[int, PushedTo] = {}

    def _end(self, worker: int) -> PushedTo:
        end = super()._end(worker)
        end.__class__ = PushedTo
        assert isinstance(end, PushedTo)
        end.inbox = Inbox(self.kept_bytes)
        self.ends[worker] = end
        return end
