"""One payload between two workers as frames: a header in which everything can be checked, and a part of it.

A payload above a channel's limit becomes several frames, whose number stands in each: a receiver asks for
chunk 0 and learns what else to ask for. Nothing to send is a frame too, without a body. Layout, little
endian, 32 bytes and the body:

    magic 2, version 1, kind 1, run 8, epoch 4, layer 4, source 2, target 2, chunk 2, chunks 2, check 4

`run` is a hash of its name, `check` one of all that precedes it and of the body. A body is aligned as its
message is. Magic, version and check stay what and where they are in every version: so another version is told
from damage.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import xxhash

from glowplug.distributed.channels.base import Buffer, MessageKey
from glowplug.distributed.errors import FrameCorrupt, FrameMismatch, FrameVersion, LimitTooSmall

MAGIC = b"GF"
VERSION = 1
_FIELDS = struct.Struct("<2sBBQIIHHHH")
_CHECK = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECK.size
MOST_CHUNKS = 2**16 - 1


class Kind(enum.IntEnum):
    NULL = 0
    """The source has nothing for the target in this layer."""
    ROWS = 1
    """`codec.encode_rows`"""
    TENSOR = 2
    """`tensor_codec.encode_tensor`"""
    BYTES = 3


_KINDS = frozenset(Kind)


class Frame(NamedTuple):
    kind: Kind
    chunks: int
    body: memoryview


class Payload(NamedTuple):
    """`body` is empty where `kind` is NULL."""

    kind: Kind
    body: bytes | memoryview


def frames(key: MessageKey, kind: Kind, body: Buffer, limit_bytes: int) -> list[tuple[MessageKey, bytes]]:
    """The messages that carry a payload, each at most `limit_bytes`; `key.chunk` is 0.

    Raises LimitTooSmall when no frame, or not all chunks that a header can count, would fit.
    """
    content = memoryview(body).cast("B")
    room_bytes = limit_bytes - HEADER_BYTES
    chunks = max(1, -(-len(content) // room_bytes)) if room_bytes > 0 else MOST_CHUNKS + 1
    if chunks > MOST_CHUNKS:
        raise LimitTooSmall(
            f"{key}: {len(content)} bytes do not fit in {MOST_CHUNKS} messages of {limit_bytes} bytes, of "
            f"which {HEADER_BYTES} are the header: use a channel that takes larger ones, or a claim check"
        )
    return [
        _frame(key.part(chunk), kind, chunks, content[at : at + room_bytes])
        for chunk, at in zip(range(chunks), range(0, len(content) or 1, room_bytes), strict=True)
    ]


def open_frame(key: MessageKey, message: Buffer) -> Frame:
    """Checks everything. The body is a view of `message`.

    Raises FrameCorrupt, FrameVersion, and FrameMismatch when it is the frame of another key.
    """
    view = memoryview(message).cast("B")
    if len(view) < HEADER_BYTES or bytes(view[:2]) != MAGIC:
        raise FrameCorrupt(f"{key}: {len(view)} bytes that are no frame")
    _, version, kind, run, epoch, layer, source, target, chunk, chunks = _FIELDS.unpack_from(view)
    body = view[HEADER_BYTES:]
    if _CHECK.unpack_from(view, _FIELDS.size)[0] != _check(view[: _FIELDS.size], body):
        raise FrameCorrupt(f"{key}: damaged on its way")
    if version != VERSION:
        raise FrameVersion(
            f"{key}: worker {key.source} writes frames of version {version} and this one reads {VERSION}: "
            "run one version of glowplug on all workers"
        )
    found = (run, epoch, layer, source, target, chunk)
    if found != (_run_hash(key.run), key.epoch, key.layer, key.source, key.target, key.chunk):
        raise FrameMismatch(f"{key}: this is the frame of another message, {found}")
    if kind not in _KINDS or not chunk < chunks or (kind == Kind.NULL and (body or chunks != 1)):
        raise FrameCorrupt(f"{key}: chunk {chunk} of {chunks} of kind {kind} with {len(body)} bytes")
    return Frame(Kind(kind), chunks, body)


def null_frame(key: MessageKey) -> bytes:
    """What says that there is nothing."""
    return _frame(key, Kind.NULL, 1, memoryview(b""))[1]


def is_null(message: Buffer) -> bool:
    """Whether it says that there is nothing. Checks no more than that."""
    view = memoryview(message).cast("B")
    return len(view) == HEADER_BYTES and view[:2] == MAGIC and view[3] == Kind.NULL


class Assembly:
    """Puts payloads together, whatever comes first. Pure.

    assembly = Assembly(keys)
    while assembly.wanted:
        for key, payload in assembly.add(channel.receive(assembly.wanted, timeout_s)):
            ...
    """

    def __init__(self, keys: Iterable[MessageKey]) -> None:
        """`keys` are the payloads', with chunk 0."""
        self.wanted: set[MessageKey] = set(keys)
        """What to ask the channel for. Grows when a first chunk says that there are more."""
        self._parts: dict[MessageKey, dict[int, Frame]] = {}

    def add(self, came: Mapping[MessageKey, Buffer]) -> list[tuple[MessageKey, Payload]]:
        """The payloads that are complete now. Raises FrameError at the first bad frame: those before it count
        as come, it and those after it are still wanted, and so are they if given again."""
        complete = []
        for key, message in came.items():
            if key not in self.wanted:
                continue
            frame = open_frame(key, message)
            first = key.part(0)
            parts = self._parts.setdefault(first, {})
            if parts and (frame.kind, frame.chunks) != next(iter(parts.values()))[:2]:
                raise FrameMismatch(f"{key}: {frame.chunks} chunks of {frame.kind!r}, unlike those before it")
            if not parts:
                others = range(frame.chunks)
                self.wanted.update(key.part(chunk) for chunk in others)
            self.wanted.discard(key)
            parts[key.chunk] = frame
            if len(parts) == frame.chunks:
                del self._parts[first]
                complete.append((first, _joined(parts)))
        return complete


def _joined(parts: dict[int, Frame]) -> Payload:
    if len(parts) == 1:
        return Payload(parts[0].kind, parts[0].body)
    return Payload(parts[0].kind, b"".join(parts[chunk].body for chunk in range(len(parts))))


def _frame(key: MessageKey, kind: Kind, chunks: int, body: memoryview) -> tuple[MessageKey, bytes]:
    try:
        numbers = (key.epoch, key.layer, key.source, key.target, key.chunk, chunks)
        fields = _FIELDS.pack(MAGIC, VERSION, kind, _run_hash(key.run), *numbers)
    except struct.error as error:
        raise ValueError(f"{key} does not fit a frame: {error}") from None
    return key, b"".join((fields, _CHECK.pack(_check(fields, body)), body))


def _check(fields: Buffer, body: Buffer) -> int:
    sum_ = xxhash.xxh3_64(fields)
    sum_.update(body)
    return sum_.intdigest() & 0xFFFFFFFF


def _run_hash(run: str) -> int:
    return xxhash.xxh3_64_intdigest(run.encode())
