"""Several messages to one target as one, and few calls for many targets."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TypeVar

from glowplug.distributed.channels.base import Buffer, MessageKey

_RECORD = struct.Struct("<IIHHHI")
RECORD_BYTES = _RECORD.size

Item = TypeVar("Item")


def envelopes(messages: Sequence[tuple[MessageKey, Buffer]], most_bytes: int) -> list[tuple[int, bytes]]:
    """(target, content): each target's messages, in their order, in as few as hold them."""
    by_target: dict[int, list[list[Buffer]]] = {}
    filled: dict[int, int] = {}
    for key, payload in messages:
        nbytes = memoryview(payload).nbytes
        record = _RECORD.pack(key.epoch, key.layer, key.source, key.target, key.chunk, nbytes)
        made = by_target.setdefault(key.target, [])
        if not made or filled[key.target] + len(record) + nbytes > most_bytes:
            made.append([])
            filled[key.target] = 0
        made[-1] += (record, payload)
        filled[key.target] += len(record) + nbytes
    return [(target, b"".join(records)) for target, made in by_target.items() for records in made]


def opened(run: str, envelope: bytes) -> list[tuple[MessageKey, bytes]]:
    """Raises ValueError for bytes that are no envelope."""
    found, at = [], 0
    while at < len(envelope):
        begin = at + RECORD_BYTES
        if begin > len(envelope):
            raise ValueError("an envelope ends within a record")
        epoch, layer, source, target, chunk, nbytes = _RECORD.unpack_from(envelope, at)
        at = begin + nbytes
        if at > len(envelope):
            raise ValueError("an envelope ends within a message")
        found.append((MessageKey(run, epoch, layer, source, target, chunk), envelope[begin:at]))
    return found


def batches(sized: Iterable[tuple[Item, int]], most_items: int, most_bytes: int) -> list[list[Item]]:
    """As few lists as first fit, largest first, makes of (item, bytes); no list exceeds either bound."""
    made: list[tuple[list[Item], int]] = []
    for item, nbytes in sorted(sized, key=lambda pair: -pair[1]):
        for number, (items, taken) in enumerate(made):
            if len(items) < most_items and taken + nbytes <= most_bytes:
                items.append(item)
                made[number] = (items, taken + nbytes)
                break
        else:
            made.append(([item], nbytes))
    return [items for items, _ in made]
