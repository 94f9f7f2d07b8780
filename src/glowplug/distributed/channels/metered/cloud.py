"""Queues and objects that exist in virtual time: what the simulated services share."""

from __future__ import annotations

from collections import deque

import xxhash

from glowplug.distributed.channels.base import MessageKey
from glowplug.distributed.channels.messaging import Entry
from glowplug.distributed.channels.metered.delays import Delays
from glowplug.distributed.channels.metered.store import VirtualStore
from glowplug.distributed.channels.metered.virtual_time import VirtualGate, VirtualTime


class VirtualQueue:
    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self.there: deque[tuple[int, Entry]] = deque()
        self.arrival: VirtualGate = time.gate()
        """Open while messages are there."""
        self.hidden: dict[int, Entry] = {}
        self._count = 0

    def arrive(self, when_s: float, entry: Entry) -> None:
        self._time.at(when_s, lambda: self._add(entry))

    def take(self, most: int) -> list[tuple[int, Entry]]:
        taken = [self.there.popleft() for _ in range(min(most, len(self.there)))]
        self.hidden.update(taken)
        if not self.there:
            self.arrival.clear()
        return taken

    def show(self, numbers: list[int]) -> None:
        for number in numbers:
            if number in self.hidden:
                self._add(self.hidden.pop(number))

    def forget(self, numbers: list[int]) -> None:
        for number in numbers:
            self.hidden.pop(number, None)

    def _add(self, entry: Entry) -> None:
        self.there.append((self._count, entry))
        self._count += 1
        self.arrival.set()


class Mailbox:
    """What has come to one worker without a service between."""

    def __init__(self, gate: VirtualGate) -> None:
        self.came: list[tuple[MessageKey, bytes]] = []
        self.gate = gate

    def add(self, key: MessageKey, payload: bytes) -> None:
        self.came.append((key, payload))
        self.gate.set()


class Cloud:
    """One account. Runs in it see each other's names, and nothing else."""

    def __init__(self, time: VirtualTime | None = None, delays: Delays | None = None) -> None:
        self.time = time or VirtualTime()
        self.delays = delays or Delays()
        self._messages = 0
        self.queues: dict[str, list[VirtualQueue]] = {}
        """Of each run, by worker."""
        self.store = VirtualStore()
        self.mailboxes: dict[str, list[Mailbox]] = {}
        """Of each run that needs no service, by worker."""

    def hop_s(self) -> float:
        """Of one message; the same messages in the same order take the same."""
        self._messages += 1
        share = xxhash.xxh32_intdigest(self._messages.to_bytes(8, "little")) / 2**32
        return self.delays.hop_s + share * self.delays.hop_spread_s

    def spend(self, calls: int, call_s: float, nbytes: int) -> None:
        """The time of calls beside each other, and of their bytes one after another."""
        rounds = -(-calls // self.delays.parallel)
        self.time.sleep(rounds * call_s + nbytes / self.delays.bytes_per_s)
