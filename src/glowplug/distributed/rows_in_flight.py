"""Rows between two workers: their positions in a list that both know, and their values over the samples
that live.

Two forms: encoded in few bytes, for channels that are slow or paid for; plain, for memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.codec import decode_rows, encode_rows
from glowplug.distributed.errors import FrameCorrupt, FrameMismatch
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.network import Floats
from glowplug.distributed.schedule import Schedule
from glowplug.distributed.workload.serial import live_columns

_HEAD = struct.Struct("<III")  # rows, samples, living samples

Columns = NDArray[np.int64]


class Block(NamedTuple):
    """`values` (rows, columns) of the rows at `rows`; those of all other rows and columns are zero."""

    rows: NDArray[np.integer]
    columns: Columns
    values: Floats


def encoded(values: Floats, columns: Columns, samples: int) -> tuple[Kind, bytes]:
    """`values` (rows, columns). Rows of zeros are left out; where nothing is left, the payload says so."""
    rows = np.flatnonzero(values.any(axis=1))
    if not len(rows):
        return Kind.NULL, b""
    whole = values[rows]
    if len(columns) < samples:
        whole = np.zeros((len(rows), samples), np.float32)
        whole[:, columns] = values[rows]
    return Kind.ROWS, encode_rows(rows, whole)


def plain(values: Floats, columns: Columns, samples: int) -> tuple[Kind, bytes]:
    """As they are, rows of zeros too."""
    lives = np.zeros(samples, np.bool_)
    lives[columns] = True
    head = _HEAD.pack(len(values), samples, len(columns))
    return Kind.BYTES, b"".join((head, np.packbits(lives).tobytes(), np.ascontiguousarray(values).data))


def opener(schedule: Schedule) -> Callable[[int, int, Payload], Block | Payload]:
    """What a worker makes of what comes: blocks for its layers, and payloads as they are for everything else.

    Raises FrameError for what no worker sends.
    """
    expected = {
        (turn.step, source): (len(flow.rows), turn.share.samples)
        for turn in schedule.turns
        for source, flow in turn.sources
    }

    def open_payload(step: int, source: int, payload: Payload) -> Block | Payload:
        if (step, source) not in expected:
            return payload
        return opened(payload, *expected[step, source])

    return open_payload


def opened(payload: Payload, many: int, samples: int) -> Block:
    """At most `many` rows. Raises FrameMismatch, FrameCorrupt."""
    if payload.kind == Kind.NULL:
        none = np.empty(0, np.int64)
        return Block(none, none, np.empty((0, 0), np.float32))
    if payload.kind == Kind.ROWS:
        rows, values = decode_rows(payload.body, samples=samples, neurons=many, most_rows=many)
        lives = live_columns(values)
        return Block(rows, np.flatnonzero(lives), values if lives.all() else values[:, lives])
    return _opened_plain(memoryview(payload.body), many, samples)


def _opened_plain(body: memoryview, many: int, samples: int) -> Block:
    if len(body) < _HEAD.size:
        raise FrameCorrupt(f"plain rows of {len(body)} bytes")
    found = _HEAD.unpack_from(body)
    bitmap_bytes = -(-samples // 8)
    if found[:2] != (many, samples):
        raise FrameMismatch(f"{found[0]} rows of {found[1]} samples came, not {many} of {samples}")
    if len(body) != _HEAD.size + bitmap_bytes + 4 * many * found[2]:
        raise FrameCorrupt(f"{many} plain rows of {found[2]} living samples in {len(body)} bytes")
    bitmap = np.frombuffer(body, np.uint8, bitmap_bytes, _HEAD.size)
    columns = np.flatnonzero(np.unpackbits(bitmap, count=samples))
    if len(columns) != found[2]:
        raise FrameCorrupt(f"a bitmap of {len(columns)} living samples, not {found[2]}")
    values = np.frombuffer(body, np.float32, many * len(columns), _HEAD.size + bitmap_bytes)
    return Block(np.arange(many), columns, values.reshape(many, len(columns)))
