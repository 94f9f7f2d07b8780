"""The journal: bounded segments of what came in and a checksum of what went out.

A segment is a series of frames, `length u32, crc32 u32, payload` (little endian). The first payload is a
snapshot of the whole state, every other one an event with its time and the checksum of its commands, as
msgpack. Pure: bytes in, bytes out; the files are journal_files.py's.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from glowplug.control.state import ControlState
from glowplug.core.commands import Command
from glowplug.core.errors import UNREADABLE, GlowplugError, Unavailable
from glowplug.core.events import Event

_HEADER = struct.Struct("<II")
_FOREIGN = "another version of Glowplug wrote this journal; explain it with that one"
_encoder = msgspec.msgpack.Encoder()


class Entry(msgspec.Struct, array_like=True):
    now_s: float
    event: Event
    commands_crc: int


_decoder = msgspec.msgpack.Decoder(Entry)


class Mismatch(msgspec.Struct, frozen=True):
    """An event whose replay gave other commands than the journal says."""

    segment: str
    number: int
    event: Event
    commands: tuple[Command, ...]


class ReplayReport(msgspec.Struct):
    """`torn_bytes` were cut off at the end of a segment: a process was killed while it wrote. `foreign`
    segments are of another version of Glowplug, and left out."""

    segments: int = 0
    events: int = 0
    commands: int = 0
    mismatches: list[Mismatch] = []
    torn_bytes: int = 0
    foreign: int = 0


def frame(payload: bytes) -> bytes:
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def commands_crc(commands: list[Command]) -> int:
    return zlib.crc32(_encoder.encode(commands))


def entry_frame(now_s: float, event: Event, commands: list[Command]) -> bytes:
    return frame(_encoder.encode(Entry(now_s, event, commands_crc(commands))))


def payloads(data: bytes) -> Iterator[bytes]:
    """The whole payloads of a segment; stops at the first torn or damaged one."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, crc = _HEADER.unpack_from(data, offset)
        payload = data[offset + _HEADER.size : offset + _HEADER.size + length]
        if len(payload) < length or zlib.crc32(payload) != crc:
            return
        yield payload
        offset += _HEADER.size + length


def entries_of(data: bytes, needle: bytes = b"") -> Iterator[Entry]:
    """The entries of a segment, one by one; with a `needle` only those that hold these bytes. Raises
    Unavailable when another version of Glowplug wrote it."""
    whole = payloads(data)
    next(whole, None)
    for payload in whole:
        if needle in payload:
            yield _entry(payload)


def read_segment(data: bytes) -> tuple[bytes | None, list[Entry]]:
    """(snapshot, entries) of a segment. The snapshot is None when not even that was written whole. Raises
    Unavailable as `entries_of`."""
    whole = payloads(data)
    snapshot = next(whole, None)
    return snapshot, list(map(_entry, whole))


def state_of(snapshot: bytes) -> ControlState:
    """Raises Unavailable as `entries_of`."""
    try:
        return ControlState.from_snapshot(snapshot)
    except (KeyError, GlowplugError, *UNREADABLE) as error:
        raise Unavailable(_FOREIGN) from error


def _entry(payload: bytes) -> Entry:
    try:
        return _decoder.decode(payload)
    except UNREADABLE as error:
        raise Unavailable(_FOREIGN) from error


def replay_segment(name: str, data: bytes, report: ReplayReport) -> ControlState | None:
    """Handles a segment's events again, from its snapshot, and adds what came of it to `report`."""
    report.torn_bytes += len(data) - sum(_HEADER.size + len(payload) for payload in payloads(data))
    try:
        snapshot, entries = read_segment(data)
        state = None if snapshot is None else state_of(snapshot)
    except Unavailable:
        report.foreign += 1
        return None
    if state is None:
        return None
    report.segments += 1
    for number, entry in enumerate(entries):
        commands = state.handle(entry.event, entry.now_s)
        report.events += 1
        report.commands += len(commands)
        if commands_crc(commands) != entry.commands_crc:
            report.mismatches.append(Mismatch(name, number, entry.event, tuple(commands)))
    return state
