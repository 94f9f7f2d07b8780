"""What workers tell each other about what was sent, numbered by who tells it. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from glowplug.distributed.channels.base import NOTES, Buffer, MessageKey
from glowplug.distributed.errors import FrameError
from glowplug.distributed.frame import Assembly, Kind, frames

MOST_INCARNATIONS = 3
"""A worker that is lost more often than this within an epoch costs the epoch."""
_AHEAD = 3
"""So many of a partner's next notes are looked for at first: one may be lost."""
_MORE_AHEAD = 4
"""And so many more for each stall since: a partner stalls as often, and tells again each time, while all that
it tells is lost. (A poll of a worker that is gone takes what comes to its queue for 20 s.)"""

Outgoing = list[tuple[MessageKey, bytes]]


class Need(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Send the payload of this step again, as this attempt."""

    step: int
    attempt: int


class Rejoined(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A new incarnation: send everything from this step on again."""

    step: int


class Done(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Nothing before this step will be asked for."""

    step: int


class Gone(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """What was asked for was sent by an earlier incarnation, and this one began after it."""

    step: int


Note = Need | Rejoined | Done | Gone
_decoder = msgspec.msgpack.Decoder(Note)


class NoteBook:
    """The notes to and from one incarnation of a worker. Those that are lost or damaged are passed over:
    who told them tells again."""

    def __init__(
        self, run: str, worker: int, epoch: int, incarnation: int, partners: Iterable[int], limit_bytes: int
    ) -> None:
        self._run, self._worker, self._epoch, self._incarnation = run, worker, epoch, incarnation
        self._limit_bytes = limit_bytes
        self._told = dict.fromkeys(partners, 0)
        self._heard = dict.fromkeys(self._told, (0, 0))  # incarnation, and the number of its next note

    def owns(self, key: MessageKey) -> bool:
        return key.layer >= NOTES

    def tell(self, partner: int, note: Note) -> Outgoing:
        number = self._told[partner]
        self._told[partner] += 1
        key = self._key(self._worker, partner, self._incarnation, number)
        return frames(key, Kind.BYTES, msgspec.msgpack.encode(note), self._limit_bytes)

    def wanted(
        self, partners: Collection[int] | None = None, stalls: int = 0, *, sparingly: bool = False
    ) -> set[MessageKey]:
        """The next of each partner, or of these, and the first of whoever may take over from it; `sparingly`,
        where each costs a call and none that was told is lost but by itself, as few as will do. Who takes
        over is so late that others have stalled."""
        many = min(_AHEAD, 1 + stalls) if sparingly else _AHEAD + _MORE_AHEAD * stalls
        takers = stalls if sparingly else MOST_INCARNATIONS
        return {
            self._key(partner, self._worker, each, (number if each == incarnation else 0) + ahead)
            for partner, (incarnation, number) in self._heard.items()
            if partners is None or partner in partners
            for each in range(incarnation, min(MOST_INCARNATIONS, incarnation + takers + 1))
            for ahead in range(many)
        }

    def read(self, key: MessageKey, message: Buffer) -> Note | None:
        """None for what is late, damaged or from somebody else."""
        place = key.epoch - self._epoch, key.layer - NOTES
        if key.source not in self._heard or place < self._heard[key.source]:
            return None
        self._heard[key.source] = (place[0], place[1] + 1)
        try:
            ((_, payload),) = Assembly([key]).add({key: message})
            note: Note = _decoder.decode(payload.body)
        except (FrameError, ValueError):
            return None
        return note

    def _key(self, source: int, target: int, incarnation: int, number: int) -> MessageKey:
        return MessageKey(self._run, self._epoch + incarnation, NOTES + number, source, target)
