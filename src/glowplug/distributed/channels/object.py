"""Our scheme over an object store: one object for a layer and sender, with an index; no LIST, no null object.

A receiver knows the names of what it waits for, so it asks for the objects themselves, the beginning of each:
the index and, mostly, its own part. What lies further on takes a second read. It tries first when a source's
object came in the layers before, and then ever more seldom.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from glowplug.distributed.channels import layer_object
from glowplug.distributed.channels.base import NOTES, Buffer, Limits, MessageKey
from glowplug.distributed.channels.blob_room import BlobRoom
from glowplug.distributed.channels.blobs import Blobs, Range
from glowplug.distributed.channels.clock import Clock
from glowplug.distributed.channels.inbox_end import InboxEnd
from glowplug.distributed.channels.layer_object import Slice
from glowplug.distributed.channels.pace import Expected, Pace, Role
from glowplug.distributed.channels.reach import Reach

LIMITS = Limits(
    max_message_bytes=2**30,
    max_batch_messages=2**16,
    max_batch_bytes=2**32,
    ordered=False,
    duplicates=True,
    durable=True,
    replays=True,
    looks_are_calls=True,
)
FOLDER_LIMITS = msgspec.structs.replace(LIMITS, looks_are_calls=False, slow_s=0.02)
_Object = tuple[int, int, int]
"""Epoch, layer, source."""


class ObjectRoom(BlobRoom):
    """Below `RUN/` of a store."""

    channel = "object"

    @property
    def _mark(self) -> str:
        return f"{self.run}/open"

    def _end_over(self, worker: int, blobs: Blobs) -> ObjectChannel:
        return ObjectChannel(self.run, self.workers, worker, blobs, self._clock)

    def _destroy(self) -> None:
        """The mark last, so that nobody opens what is not empty."""
        self._blobs.clear(self.run, but=self._mark)
        self._blobs.delete([self._mark])


class ObjectChannel(InboxEnd):
    """`fence` deletes nothing: other receivers may still read an object; the room's end removes all."""

    def __init__(self, run: str, workers: int, worker: int, blobs: Blobs, clock: Clock) -> None:
        limits = LIMITS if blobs.looks_are_calls else FOLDER_LIMITS
        super().__init__(run, workers, worker, limits, blobs.meter, clock)
        self._blobs = blobs
        self._pace = Pace(blobs.look_again_s, looks_are_calls=blobs.looks_are_calls)
        self._expected: dict[_Object, Expected] = {}
        self._roles: dict[_Object, Role] = {}
        """Of what was waited for at the last look."""
        self._sent: dict[str, int] = {}
        self._reach = Reach()

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        """A layer is sent in one object, so what is not in it is in none or in a later part."""
        found = {key: self._expected.get((key.epoch, key.layer, key.source)) for key in wanted}
        return {
            key for key, expected in found.items()
            if expected is not None and expected.part and self._inbox.wants(key)
        }  # fmt: skip

    def reject(self, keys: Collection[MessageKey]) -> None:
        super().reject(keys)
        for one in {(key.epoch, key.layer, key.source) for key in keys} & self._expected.keys():
            self._pace.rejected(self._expected[one], self._clock.now_s())

    def fence(self, epoch: int, layer: int) -> None:
        super().fence(epoch, layer)
        for one in [one for one in self._expected if one[:2] < (epoch, layer)]:
            del self._expected[one]

    def _send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        """A layer that is sent in several calls costs its receivers a read for each."""
        objects: dict[str, list[tuple[MessageKey, Buffer]]] = {}
        for message in messages:
            objects.setdefault(self._name(message[0]), []).append(message)
        parts = {name: self._sent.get(name, 0) for name in objects}
        self._blobs.put([(f"{name}.{parts[name]}", layer_object.build(objects[name])) for name in objects])
        # What was not accepted is sent again as the same part: receivers look for one after the other.
        self._sent.update({name: part + 1 for name, part in parts.items()})

    def _look_for(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        until_s = self._clock.now_s() + timeout_s
        learns = not _asked_again(wanted)
        found: dict[MessageKey, bytes] = {}
        left_out = self.left_out(wanted)
        if timeout_s <= 0:
            self._fetch(self._due(wanted, at_once=True)[0], learns)
            found = self._inbox.take(wanted)
        while not found and (left_s := until_s - self._clock.now_s()) > 0:
            due, next_s = self._due(wanted, at_once=False)
            if due:
                self._fetch(due, learns)
                found = self._inbox.take(wanted)
                if self.left_out(wanted) - left_out:
                    break
            else:
                self._clock.sleep(min(left_s, next_s - self._clock.now_s()))
        return found

    def _close(self) -> None:
        self._blobs.close()

    def _name(self, key: MessageKey) -> str:
        """Without its part. A note is for one target, who shall not find others' in its place."""
        for_one = f"-{key.target}" if key.layer >= NOTES else ""
        return f"{self._run}/{key.epoch}-{key.layer}/{key.source}{for_one}"

    def _due(self, wanted: Collection[MessageKey], at_once: bool) -> tuple[dict[_Object, Expected], float]:
        """What to ask for now, or else when."""
        now_s = self._clock.now_s()
        waited: dict[_Object, Expected] = {}
        roles: dict[_Object, Role] = {}
        layer, epoch = min(((key.layer, key.epoch) for key in wanted), default=(0, 0))
        for key in wanted:
            if not self._inbox.wants(key):
                continue
            one = (key.epoch, key.layer, key.source)
            roles[one] = _role(key, layer, epoch)
            if one not in self._expected:
                self._expected[one] = self._pace.expect(key.source, now_s, roles[one])
            elif self._expected[one].misses and self._roles.get(one) != roles[one]:
                self._pace.resumed(self._expected[one], now_s, roles[one])
            waited[one] = self._expected[one]
        self._roles = roles
        due = {one: expected for one, expected in waited.items() if at_once or expected.due_s <= now_s}
        return due, min((expected.due_s for expected in waited.values()), default=float("inf"))

    def _fetch(self, due: dict[_Object, Expected], learns: bool) -> None:
        """Everything in these objects for this worker, into the inbox."""
        asked_s = self._clock.now_s()
        names = {
            one: f"{self._name(MessageKey(self._run, *one, self.worker))}.{expected.part}"
            for one, expected in due.items()
        }
        there = self._blobs.glance(list(names.values()))
        for one in [one for one, name in names.items() if name not in there]:
            self._pace.missed(due[one], asked_s, asked_s)
            del names[one]
        if not names:
            return
        first_bytes = self._reach.first_bytes
        begun = [
            (one, due[one], name, beginning)
            for (one, name), beginning in zip(
                names.items(),
                self._blobs.get([Range(name, 0, first_bytes) for name in names.values()]),
                strict=True,
            )
        ]
        further: list[tuple[_Object, list[Slice], Range]] = []
        for one, expected, name, beginning in begun:
            read = None if beginning is None else self._index(name, beginning)
            if read is None:
                self._pace.missed(expected, asked_s, self._clock.now_s())
                continue
            content, slices = read
            self._pace.found(expected, self._clock.now_s(), learns=learns)
            if not slices:
                continue
            if one[1] < NOTES:
                self._reach.found(one[1], layer_object.index_bytes(content), slices[-1].end)
            if slices[-1].end <= len(content):
                self._keep(one, slices, content, 0)
            else:
                start = slices[0].start
                further.append((one, slices, Range(name, start, slices[-1].end - start)))
        if further:
            parts = self._blobs.get([wanted for _, _, wanted in further])
            for (one, slices, wanted), part in zip(further, parts, strict=True):
                self._keep(one, slices, part or b"", wanted.start)

    def _index(self, name: str, beginning: bytes) -> tuple[bytes, list[Slice]] | None:
        """What was read of it, and where in it this worker's messages are. None when it is damaged."""
        try:
            nbytes = layer_object.index_bytes(beginning)
            if nbytes > len(beginning):
                beginning = self._blobs.get([Range(name, 0, nbytes)])[0] or b""
            slices = layer_object.index(beginning, self.worker)
        except layer_object.Damaged:
            self.meter.damaged += 1
            return None
        return beginning, slices

    def _keep(self, one: _Object, slices: list[Slice], content: bytes, offset: int) -> None:
        epoch, layer, source = one
        for part in slices:
            key = MessageKey(self._run, epoch, layer, source, self.worker, part.chunk)
            payload = content[part.start - offset : part.end - offset]
            if len(payload) == part.end - part.start:
                self._inbox.put(key, payload)


def _role(key: MessageKey, layer: int, epoch: int) -> Role:
    """Where the least that is waited for is of `layer`, and there of `epoch`."""
    if key.layer >= NOTES:
        return Role.NOTE
    if key.layer > layer:
        return Role.LATER
    return Role.ANSWER if key.epoch > epoch else Role.LAYER


def _asked_again(wanted: Collection[MessageKey]) -> bool:
    """Whether something is wanted under two epochs: it was lost, damaged or sent by who had to begin again,
    so how late it comes says nothing of what comes next."""
    objects = {(key.epoch, key.layer, key.source) for key in wanted}
    return len({one[1:] for one in objects}) < len(objects)
