"""The object scheme of FSD-Inference (arXiv 2403.15195), as a baseline: as good as theirs, and no better.

An object for each source and target of a layer, `RUN/LAYER/TARGET/TARGET_SOURCE` in the bucket of the
target's number mod 10; an empty one, `.nul`, where nothing is sent; a receiver lists its folder every 0.1 s
and reads in threads what is new. Ten prefixes of one store stand for the ten buckets, which changes no call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from glowplug.distributed.channels.base import Buffer, KeyChecks, Limits, MessageKey, Room
from glowplug.distributed.channels.blobs import Blobs, Range
from glowplug.distributed.channels.clock import Clock, RealClock
from glowplug.distributed.channels.inbox import Inbox
from glowplug.distributed.errors import ChannelMissing, RunExists
from glowplug.distributed.frame import is_null, null_frame

BUCKETS = 10
LIST_S = 0.1
LIMITS = Limits(
    max_message_bytes=2**30,
    max_batch_messages=2**16,
    max_batch_bytes=2**40,
    ordered=False,
    duplicates=True,
    durable=True,
    replays=True,
)
_NULL = ".nul"


class PaperObjectRoom(Room):
    """`blobs` opens the store, once for the room and for each end."""

    channel = "paper_object"

    def __init__(self, blobs: Callable[[], Blobs], clock: Clock | None = None) -> None:
        super().__init__()
        self._open_blobs = blobs
        self._blobs = blobs()
        self._clock = clock or RealClock()
        self._meter = self._blobs.meter

    def _create(self) -> None:
        if not self._blobs.create(self._mark, b"open"):
            raise RunExists(f"run {self.run!r} is open in this store: end it, or use another name")

    def _end(self, worker: int) -> PaperObjectChannel:
        if self._blobs.get([Range(self._mark, 0, 1)]) == [None]:
            raise ChannelMissing(f"run {self.run!r} is not open in this store")
        return PaperObjectChannel(self.run, self.workers, worker, self._open_blobs(), self._clock)

    def _destroy(self) -> None:
        for bucket in range(BUCKETS):
            self._blobs.delete(self._blobs.list(f"{bucket}/{self.run}"))
        self._blobs.delete([self._mark])

    def _options(self) -> dict[str, Any]:
        return dict(self._blobs.options())

    @property
    def _mark(self) -> str:
        return f"open/{self.run}"


class PaperObjectChannel:
    limits = LIMITS

    def __init__(self, run: str, workers: int, worker: int, blobs: Blobs, clock: Clock) -> None:
        self.worker = worker
        self.meter = blobs.meter
        self._run = run
        self._checks = KeyChecks(run, workers, worker, LIMITS)
        self._blobs = blobs
        self._clock = clock
        self._inbox = Inbox()
        self._listed_s = clock.now_s() - LIST_S

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._checks.sending(messages)
        self._blobs.put(
            [
                (f"{self._folder(key)}/{_name(key)}{_NULL}", b"")
                if is_null(payload)
                else (f"{self._folder(key)}/{_name(key)}", bytes(payload))
                for key, payload in messages
            ]
        )
        for _, payload in messages:
            self.meter.sent(memoryview(payload).nbytes)

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self._checks.receiving(wanted)
        found = self._inbox.take(wanted)
        if not found and timeout_s <= 0:
            found = self._look(wanted)
        until_s = self._clock.now_s() + timeout_s
        while not found and wanted and (left_s := until_s - self._clock.now_s()) > 0:
            wait_s = self._listed_s + LIST_S - self._clock.now_s()
            if wait_s > 0:
                self._clock.sleep(min(wait_s, left_s))
            else:
                found = self._look(wanted)
        for payload in found.values():
            self.meter.received(len(payload))
        return found

    def reject(self, keys: Collection[MessageKey]) -> None:
        self._inbox.reject(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self._inbox.fence(epoch, layer)

    def close(self) -> None:
        if not self._checks.closed:
            self._checks.closed = True
            self._blobs.close()

    def _look(self, wanted: Collection[MessageKey]) -> dict[MessageKey, bytes]:
        """Lists the folders of what is wanted, and reads what is new in them."""
        self._listed_s = self._clock.now_s()
        folders = sorted({self._folder(key) for key in wanted})
        there = [name for folder in folders for name in self._blobs.list(folder)]
        reads: list[tuple[MessageKey, Range]] = []
        for name in there:
            key = self._key(name)
            if not self._inbox.wants(key):
                continue
            if name.endswith(_NULL):
                self._inbox.put(key, null_frame(key))
            else:
                reads.append((key, Range(name, 0, LIMITS.max_message_bytes)))
        contents = self._blobs.get([wanted for _, wanted in reads]) if reads else []
        for (key, _), content in zip(reads, contents, strict=True):
            if content is not None:
                self._inbox.put(key, content)
        return self._inbox.take(wanted)

    def _folder(self, key: MessageKey) -> str:
        return f"{key.target % BUCKETS}/{self._run}/{key.epoch}-{key.layer}/{key.target}"

    def _key(self, name: str) -> MessageKey:
        _, _, layer_name, _, file = name.rsplit("/", 4)
        epoch, layer = map(int, layer_name.split("-"))
        target, source, chunk = map(int, file.removesuffix(_NULL).split("_"))
        return MessageKey(self._run, epoch, layer, source, target, chunk)


def _name(key: MessageKey) -> str:
    return f"{key.target}_{key.source}_{key.chunk}"
