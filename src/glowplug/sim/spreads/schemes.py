"""How workers of a simulated run exchange rows: the paper's two schemes as published, and ours beside them.

Source of `paper_queue` and `paper_object`: FSD-Inference (Oakley & Ferhatosmanoglu, ICDE 2024).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from glowplug.policy.plans.channels import per_receiver
from glowplug.policy.plans.channels.objects import HEAD_BYTES, INDEX_BYTES
from glowplug.policy.plans.channels.queue import BATCH_MESSAGES, message_counts
from glowplug.policy.plans.spread import Spread
from glowplug.sim.agenda import Agenda
from glowplug.sim.processes import Process
from glowplug.sim.spreads.queues import Inbox, QueueService, chunked
from glowplug.sim.spreads.stores import ObjectStore

LIST_EVERY_S = 0.1
"""The paper's object scheme looks for new objects so often."""


class Parcel(NamedTuple):
    """What one worker sends another in one step, encoded."""

    step: int
    source: int
    target: int
    nbytes: int


class Scheme(Protocol):
    billed_bytes: bool
    """Whether the channel bills what it carries."""

    def send(self, parcels: list[Parcel]) -> float:
        """Begins to send all that one worker sends in a step; returns when its last call ends."""

    def receive(self, parcels: list[Parcel]) -> Process:
        """Until all of these, which are one worker's in one step, are here."""


class PaperQueue:
    """A message for each target, ten to a publish; one poll after another until every source was seen."""

    billed_bytes = True

    def __init__(self, service: QueueService, spread: Spread) -> None:
        self._service = service
        self._inboxes = [Inbox() for _ in range(spread.workers + 1)]
        self._expected = per_receiver(spread, message_counts(spread.transfers.nbytes))

    def send(self, parcels: list[Parcel]) -> float:
        messages = [each for step, _, target, nbytes in parcels for each in chunked(target, step, nbytes)]
        return self._service.publish(parcels[0].source, messages)

    def receive(self, parcels: list[Parcel]) -> Process:
        worker, step = parcels[0].target, parcels[0].step
        while self._missing(worker, step):
            yield from self._service.polls(worker, 1, self._inboxes[worker])

    def _missing(self, worker: int, step: int) -> int:
        return int(self._expected[step, worker]) - self._inboxes[worker][step]


class Queue(PaperQueue):
    """The same messages; after the first poll that brought something it lingers, so that the rest is there to fill
    the next ones, which are made at once."""

    def __init__(self, service: QueueService, spread: Spread, linger_s: float, at_once: int) -> None:
        super().__init__(service, spread)
        self._linger_s = linger_s
        self._at_once = at_once

    def receive(self, parcels: list[Parcel]) -> Process:
        worker, step = parcels[0].target, parcels[0].step
        first = True
        while missing := self._missing(worker, step):
            many = 1 if first else min(self._at_once, -(-missing // BATCH_MESSAGES))
            yield from self._service.polls(worker, many, self._inboxes[worker])
            if first and self._missing(worker, step):
                yield self._linger_s
            first = False


class PaperObject:
    """An object for each target; receivers list until every source's is there, and read those that are new."""

    billed_bytes = False

    def __init__(self, agenda: Agenda, store: ObjectStore) -> None:
        self._agenda = agenda
        self._store = store

    def send(self, parcels: list[Parcel]) -> float:
        return max(
            self._store.put(source, (step, target), (step, target, source), nbytes)
            for step, source, target, nbytes in parcels
        )

    def receive(self, parcels: list[Parcel]) -> Process:
        step, worker = parcels[0].step, parcels[0].target
        missing = {(step, worker, each.source): each.nbytes for each in parcels}
        while missing:
            asked_s = self._agenda.now_s
            listed: list[tuple[int, ...]] = []
            yield from self._store.list((step, worker), listed)
            ends_s = self._agenda.now_s
            for key in listed:
                if key in missing:
                    ends_s = max(ends_s, self._store.get(worker, key, missing.pop(key))[0])
            yield ends_s - self._agenda.now_s
            if missing:
                yield asked_s + LIST_EVERY_S - self._agenda.now_s


class Objects:
    """One object a step and sender, with an index at its head: a small one is read whole, of a large one the index
    and then the range. Nobody lists: who needs objects asks for one until it is there, then for the others."""

    billed_bytes = False

    def __init__(self, agenda: Agenda, store: ObjectStore, retry_s: float) -> None:
        self._agenda = agenda
        self._store = store
        self._retry_s = retry_s
        self._sizes: dict[tuple[int, int], int] = {}

    def send(self, parcels: list[Parcel]) -> float:
        key = parcels[0].step, parcels[0].source
        self._sizes[key] = sum(each.nbytes + INDEX_BYTES for each in parcels)
        return self._store.put(key[1], key, key, self._sizes[key])

    def receive(self, parcels: list[Parcel]) -> Process:
        missing, others = parcels[:1], parcels[1:]
        while missing:
            ends_s, later, large = self._agenda.now_s, [], []
            for each in missing:
                size = self._sizes.get(each[:2], 0)
                back_s, found = self._store.get(each.target, each[:2], min(size, HEAD_BYTES))
                ends_s = max(ends_s, back_s)
                if not found:
                    later.append(each)
                elif size > HEAD_BYTES:
                    large.append(each)
            yield ends_s - self._agenda.now_s
            ends_s = self._agenda.now_s
            for each in large:
                ends_s = max(ends_s, self._store.get(each.target, each[:2], each.nbytes)[0])
            yield ends_s - self._agenda.now_s
            if later:
                yield self._retry_s
            else:
                later, others = others, []
            missing = later
