"""Topics and queues in virtual time.

A message can be received `hop_s` after its publish ended. A poll comes back with up to ten messages as soon as
there is one; after 20 s it comes back empty, and is made again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from functools import partial

from glowplug.policy.plans.channels.queue import ATTRIBUTE_BYTES, BATCH_BYTES, BATCH_MESSAGES, MESSAGE_BYTES
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.packing import batches, billed_units
from glowplug.sim.agenda import Agenda
from glowplug.sim.processes import Process, Signal, together
from glowplug.sim.spreads.world import Counts, Node

LONG_POLL_S = 20.0
Message = tuple[int, int, int]
"""Its target, its step, its bytes."""
Inbox = Counter[int]
"""How many messages of a step came; those of a later step wait until they are asked for."""


def chunked(target: int, step: int, nbytes: int) -> list[Message]:
    """A payload as messages, each within a queue's limit."""
    room = MESSAGE_BYTES - ATTRIBUTE_BYTES
    if nbytes <= room:
        return [(target, step, nbytes + ATTRIBUTE_BYTES)]
    return [
        (target, step, min(room, nbytes - begun) + ATTRIBUTE_BYTES) for begun in range(0, nbytes, room)
    ]


class QueueService:
    """All topics and queues of a run; worker P is the coordinator."""

    def __init__(self, agenda: Agenda, delays: Delays, nodes: Sequence[Node], counts: Counts) -> None:
        self._agenda = agenda
        self._delays = delays
        self._nodes = nodes
        self._counts = counts
        self._visible: list[deque[Message]] = [deque() for _ in nodes]
        self._arrived = [Signal() for _ in nodes]

    def publish(self, source: int, messages: Sequence[Message]) -> float:
        """Packs them into calls, as many in flight as the node allows; returns when the last one ends."""
        ends_s = self._agenda.now_s
        sizes = [nbytes for _, _, nbytes in messages]
        for batch in batches(sizes, BATCH_MESSAGES, BATCH_BYTES):
            sent = messages[batch[0] : batch[-1] + 1]
            nbytes = sum(sizes[batch[0] : batch[-1] + 1])
            ends_s = max(ends_s, self._nodes[source].call(self._delays.call_s, nbytes))
            self._counts.publishes += 1
            self._counts.publish_units += billed_units(nbytes)
            self._counts.messages += len(sent)
            self._counts.sent_bytes += nbytes
            self._agenda.at(ends_s + self._delays.hop_s, partial(self._deliver, sent))
        return ends_s

    def _deliver(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._visible[message[0]].append(message)
        for target, _, _ in messages:
            self._arrived[target].wake()

    def polls(self, worker: int, many: int, inbox: Inbox) -> Process:
        """So many receive calls at once, until all are back; what they bring is added to `inbox`."""
        if many == 1:
            yield from self._poll(worker, inbox)
        else:
            yield from together(self._agenda, [self._poll(worker, inbox) for _ in range(many)])

    def _poll(self, worker: int, inbox: Inbox) -> Process:
        self._counts.polls += 1
        yield self._delays.call_s / 2
        visible = self._visible[worker]
        asked_s = self._agenda.now_s
        while not visible:
            yield self._arrived[worker]
        empty = int((self._agenda.now_s - asked_s) / LONG_POLL_S)
        self._counts.polls += empty
        self._counts.polls_empty += empty
        taken = [visible.popleft() for _ in range(min(BATCH_MESSAGES, len(visible)))]
        yield self._delays.call_s / 2 + self._nodes[worker].carry_s(sum(nbytes for _, _, nbytes in taken))
        for _, step, _ in taken:
            inbox[step] += 1
