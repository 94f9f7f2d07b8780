"""What workers of a simulated run share: time, a stated delay model, and the count of all that is billed."""

from __future__ import annotations

from heapq import heapreplace

import msgspec

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.model import Delays
from glowplug.sim.agenda import Agenda


class Counts(msgspec.Struct):
    """Grows as calls are made."""

    publishes: int = 0
    publish_units: int = 0
    messages: int = 0
    sent_bytes: int = 0
    polls: int = 0
    polls_empty: int = 0
    deletes: int = 0
    puts: int = 0
    gets: int = 0
    gets_missed: int = 0
    lists: int = 0

    @property
    def calls(self) -> int:
        return self.publishes + self.polls + self.deletes + self.puts + self.gets + self.lists

    def usage(self, billed_bytes: bool) -> Usage:
        """`billed_bytes`: the channel bills what it carries."""
        return Usage(
            publishes=self.publish_units,
            published_bytes=self.sent_bytes if billed_bytes else 0,
            queue_calls=self.polls,
            queue_deletes=self.deletes,
            puts=self.puts,
            gets=self.gets,
            lists=self.lists,
        )


class Node:
    """A worker's, or the coordinator's, way out: calls in flight are limited, and its bandwidth is shared."""

    def __init__(self, agenda: Agenda, delays: Delays, threads: int | None = None) -> None:
        self._agenda = agenda
        self._bytes_s = delays.bytes_s
        self._free_s = [0.0] * (threads or delays.threads)  # a heap
        self._link_free_s = 0.0

    def call(self, call_s: float, nbytes: float) -> float:
        """When a call made now ends: it waits for one of those before it to end where too many are in flight."""
        ends_s = self._through(max(self._agenda.now_s, self._free_s[0]), nbytes) + call_s
        heapreplace(self._free_s, ends_s)
        return ends_s

    def carry_s(self, nbytes: float) -> float:
        """Seconds from now until so many bytes are through its link."""
        return self._through(self._agenda.now_s, nbytes) - self._agenda.now_s

    def _through(self, begun_s: float, nbytes: float) -> float:
        self._link_free_s = max(begun_s, self._link_free_s) + nbytes / self._bytes_s
        return self._link_free_s
