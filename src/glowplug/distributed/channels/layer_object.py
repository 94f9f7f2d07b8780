"""What one worker sends in one layer, to all targets, as one object: an index at the head, then the bytes.

Layout, little endian: magic 2, version 1, padding 1, entries 4, check 4; for each entry target 2, chunk 2,
length 4, offset 8 from the object's beginning; then the contents in the index's order, by target. `check` is
of the index.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from glowplug.distributed.channels.base import Buffer, MessageKey

_HEAD = struct.Struct("<2sBxII")
_ENTRY = struct.Struct("<HHIQ")
_MAGIC = b"GO"
_VERSION = 1


class Damaged(ValueError):
    """Bytes that are no beginning of such an object."""


class Slice(NamedTuple):
    target: int
    chunk: int
    start: int
    end: int


def build(messages: Sequence[tuple[MessageKey, Buffer]]) -> bytes:
    """Of one layer and source."""
    ordered = sorted(messages, key=lambda message: (message[0].target, message[0].chunk))
    at = _HEAD.size + len(ordered) * _ENTRY.size
    entries, contents = [], []
    for key, payload in ordered:
        contents.append(bytes(payload))
        entries.append(_ENTRY.pack(key.target, key.chunk, len(contents[-1]), at))
        at += len(contents[-1])
    index = b"".join(entries)
    head = _HEAD.pack(_MAGIC, _VERSION, len(entries), crc32(index))
    return b"".join((head, index, *contents))


def index_bytes(beginning: bytes) -> int:
    """How much of the object is needed to read its index. Raises Damaged."""
    if len(beginning) < _HEAD.size:
        raise Damaged(f"an object of {len(beginning)} bytes")
    magic, version, count, _ = _HEAD.unpack_from(beginning)
    if (magic, version) != (_MAGIC, _VERSION):
        raise Damaged(f"an object of another kind or version: {bytes(beginning[:3])!r}")
    return _HEAD.size + int(count) * _ENTRY.size


def index(beginning: bytes, target: int) -> list[Slice]:
    """Where those for `target` are. `beginning` has at least `index_bytes`. Raises Damaged."""
    end = index_bytes(beginning)
    entries = beginning[_HEAD.size : end]
    if len(beginning) < end or crc32(entries) != _HEAD.unpack_from(beginning)[3]:
        raise Damaged("an index that is not what was written")
    return [
        Slice(each, chunk, offset, offset + length)
        for each, chunk, length, offset in _ENTRY.iter_unpack(entries)
        if each == target
    ]
