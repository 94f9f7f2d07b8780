"""The object scheme of FSD-Inference (arXiv 2403.15195), as a baseline: as good as theirs, and no better.

An object for each source and target of a layer, `RUN/LAYER/TARGET/TARGET_SOURCE` in the bucket of the
target's number mod 10; an empty one, `.nul`, where nothing is sent; a receiver lists its folder every 0.1 s
and reads in threads what is new. Ten prefixes of one store stand for the ten buckets, which changes no call.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from glowplug.distributed.channels.base import Buffer, Limits, MessageKey
from glowplug.distributed.channels.blob_room import BlobRoom
from glowplug.distributed.channels.blobs import Blobs, Range
from glowplug.distributed.channels.clock import Clock
from glowplug.distributed.channels.inbox_end import InboxEnd
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
    looks_are_calls=True,
)
_NULL = ".nul"


class PaperObjectRoom(BlobRoom):
    channel = "paper_object"

    @property
    def _mark(self) -> str:
        return f"open/{self.run}"

    def _end_over(self, worker: int, blobs: Blobs) -> PaperObjectChannel:
        return PaperObjectChannel(self.run, self.workers, worker, blobs, self._clock)

    def _destroy(self) -> None:
        for bucket in range(BUCKETS):
            self._blobs.clear(f"{bucket}/{self.run}")
        self._blobs.delete([self._mark])


class PaperObjectChannel(InboxEnd):
    def __init__(self, run: str, workers: int, worker: int, blobs: Blobs, clock: Clock) -> None:
        super().__init__(run, workers, worker, LIMITS, blobs.meter, clock)
        self._blobs = blobs
        self._listed_s = clock.now_s() - LIST_S

    def _send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._blobs.put(
            [
                (f"{self._folder(key)}/{_name(key)}{_NULL}", b"")
                if is_null(payload)
                else (f"{self._folder(key)}/{_name(key)}", bytes(payload))
                for key, payload in messages
            ]
        )

    def _look_for(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        found = self._look(wanted) if timeout_s <= 0 else {}
        until_s = self._clock.now_s() + timeout_s
        while not found and (left_s := until_s - self._clock.now_s()) > 0:
            wait_s = self._listed_s + LIST_S - self._clock.now_s()
            if wait_s > 0:
                self._clock.sleep(min(wait_s, left_s))
            else:
                found = self._look(wanted)
        return found

    def _close(self) -> None:
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
