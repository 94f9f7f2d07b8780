"""A claim check: what a channel does not take goes to an object store, and a reference through the channel.

A message begins with a byte that says which it is. Where a reference comes and its object is damaged or not
there, the message counts as not come.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import xxhash

from glowplug.distributed.channels.base import Buffer, Channel, KeyChecks, MessageKey, Room
from glowplug.distributed.channels.blobs import Blobs, Range
from glowplug.distributed.channels.clock import Clock, RealClock
from glowplug.distributed.channels.meter import Meter

MOST_BYTES = 2**30
FOLDER = "claims"
_INLINE, _CLAIM = b"\0", b"\1"
_REFERENCE = struct.Struct("<QQ")
"""Length and hash; where it is follows from the key."""
_AGAIN_S = 0.05


class ClaimCheckRoom(Room):
    """Another room, and a store for what is larger than it takes, below `claims/RUN/`.

    `blobs` opens the store, once for the room and for each end.
    """

    def __init__(self, inner: Room, blobs: Callable[[], Blobs], clock: Clock | None = None) -> None:
        super().__init__()
        self.channel = inner.channel
        self._inner = inner
        self._open_blobs = blobs
        self._blobs = blobs()
        self._clock = clock or RealClock()

    @property
    def meter(self) -> Meter:
        return self._inner.meter.plus(self._blobs.meter)

    def _create(self) -> None:
        self._inner.open(self.run, self.workers)

    def _end(self, worker: int) -> ClaimCheckChannel:
        end = self._inner.join(self.run, self.workers).end(worker)
        return ClaimCheckChannel(self.run, self.workers, end, self._open_blobs(), self._clock)

    def _destroy(self) -> None:
        self._blobs.clear(f"{FOLDER}/{self.run}")
        self._inner.join(self.run, self.workers).close()

    def _options(self) -> dict[str, Any]:
        return {**self._inner._options(), "claims": dict(self._blobs.options())}


class ClaimCheckChannel:
    """Owns both, the end and the store."""

    def __init__(self, run: str, workers: int, inner: Channel, blobs: Blobs, clock: Clock) -> None:
        self.worker = inner.worker
        self.limits = msgspec.structs.replace(inner.limits, max_message_bytes=MOST_BYTES)
        self._checks = KeyChecks(run, workers, inner.worker, self.limits)
        self._inner = inner
        self._blobs = blobs
        self._clock = clock
        self._above_bytes = inner.limits.max_message_bytes - len(_INLINE)
        self._messages = Meter()

    @property
    def meter(self) -> Meter:
        """Of both; messages count as they are given here."""
        mine = self._messages
        return msgspec.structs.replace(
            self._inner.meter.plus(self._blobs.meter),
            messages_sent=mine.messages_sent,
            message_bytes_sent=mine.message_bytes_sent,
            messages_received=mine.messages_received,
            message_bytes_received=mine.message_bytes_received,
            damaged=self._inner.meter.damaged + mine.damaged,
        )

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._checks.sending(messages)
        claims: list[tuple[str, bytes]] = []
        through: list[tuple[MessageKey, Buffer]] = []
        for key, payload in messages:
            content = bytes(payload)
            if len(content) > self._above_bytes:
                claims.append((_name(key), content))
                content = _CLAIM + _REFERENCE.pack(len(content), xxhash.xxh3_64_intdigest(content))
            else:
                content = _INLINE + content
            through.append((key, content))
        if claims:
            self._blobs.put(claims)
        self._inner.send(through)
        for _, payload in messages:
            self._messages.sent(memoryview(payload).nbytes)

    def flush(self) -> None:
        self._inner.flush()

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self._checks.receiving(wanted)
        until_s = self._clock.now_s() + timeout_s
        while True:
            came = self._inner.receive(wanted, max(0.0, until_s - self._clock.now_s()))
            found = self._redeemed(came)
            left_s = until_s - self._clock.now_s()
            if found or not came or left_s <= 0:
                break
            self._clock.sleep(min(_AGAIN_S, left_s))
        for payload in found.values():
            self._messages.received(len(payload))
        return found

    def expect(self, first: int, end: int) -> None:
        self._inner.expect(first, end)

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        return self._inner.left_out(wanted)

    def reject(self, keys: Collection[MessageKey]) -> None:
        self._inner.reject(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self._inner.fence(epoch, layer)

    def close(self) -> None:
        self._checks.closed = True
        self._inner.close()
        self._blobs.close()

    def _redeemed(self, came: dict[MessageKey, bytes]) -> dict[MessageKey, bytes]:
        found = {key: content[1:] for key, content in came.items() if content[:1] == _INLINE}
        claims = [
            key
            for key, content in came.items()
            if content[:1] == _CLAIM and len(content) == len(_CLAIM) + _REFERENCE.size
        ]
        references = {key: _REFERENCE.unpack(came[key][1:]) for key in claims}
        ranges = [Range(_name(key), 0, references[key][0]) for key in claims]
        for key, content in zip(claims, self._blobs.get(ranges) if ranges else [], strict=True):
            length, digest = references[key]
            if content is not None and (len(content), xxhash.xxh3_64_intdigest(content)) == (length, digest):
                found[key] = content
        bad = came.keys() - found.keys()
        if bad:
            self._messages.damaged += len(bad)
            self._inner.reject(bad)
        return found


def _name(key: MessageKey) -> str:
    return f"{FOLDER}/{key.run}/{key.epoch}-{key.layer}/{key.source}-{key.target}-{key.chunk}"
