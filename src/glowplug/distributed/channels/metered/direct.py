"""A channel without a service's calls: what a message bus or shared memory take, in virtual time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from glowplug.distributed.channels.base import Buffer, Limits, MessageKey, Room
from glowplug.distributed.channels.inbox_end import InboxEnd
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.metered.cloud import Cloud, Mailbox
from glowplug.distributed.errors import ChannelClosed, ChannelMissing, RunExists

LIMITS = Limits(
    max_message_bytes=2**30,
    max_batch_messages=2**20,
    max_batch_bytes=2**40,
    ordered=True,
    duplicates=False,
    durable=False,
    replays=False,
    looks_are_calls=False,
    slow_s=0.01,
)


class DirectRoom(Room):
    """A message is there `hop_s` after its bytes have left; sending takes the sender its bytes' time."""

    channel = "direct"

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self._cloud = cloud

    def _create(self) -> None:
        if self.run in self._cloud.mailboxes:
            raise RunExists(f"run {self.run!r} is open in this cloud")
        self._cloud.mailboxes[self.run] = [Mailbox(self._cloud.time.gate()) for _ in range(self.workers)]

    def _end(self, worker: int) -> DirectChannel:
        if self.run not in self._cloud.mailboxes:
            raise ChannelMissing(f"run {self.run!r} is not open in this cloud")
        return DirectChannel(self.run, worker, self._cloud, self._cloud.mailboxes[self.run])

    def _destroy(self) -> None:
        for mailbox in self._cloud.mailboxes.pop(self.run, []):
            mailbox.gate.set()

    def _options(self) -> dict[str, Any]:
        return {}


class DirectChannel(InboxEnd):
    def __init__(self, run: str, worker: int, cloud: Cloud, mailboxes: Sequence[Mailbox]) -> None:
        super().__init__(run, len(mailboxes), worker, LIMITS, Meter(), cloud.time)
        self._cloud = cloud
        self._mailboxes = mailboxes

    def _send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        if self._run not in self._cloud.mailboxes:
            raise ChannelClosed(f"run {self._run!r} is over")
        time, delays = self._cloud.time, self._cloud.delays
        left_s = time.now_s()
        for key, payload in messages:
            content = bytes(payload)
            left_s += len(content) / delays.bytes_per_s
            time.at(left_s + self._cloud.hop_s(), partial(self._mailboxes[key.target].add, key, content))
        time.sleep(left_s - time.now_s())

    def _look_for(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        time = self._cloud.time
        until_s = time.now_s() + timeout_s
        mailbox = self._mailboxes[self.worker]
        while True:
            mailbox.gate.clear()
            came, mailbox.came = mailbox.came, []
            for key, payload in came:
                self._inbox.put(key, payload)
            found = self._inbox.take(wanted)
            if found or not mailbox.gate.wait(until_s - time.now_s()):
                return found

    def _close(self) -> None:
        return
