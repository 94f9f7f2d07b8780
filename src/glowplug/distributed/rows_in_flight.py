"""Rows between two workers: their positions in a list that both know, and their values over the samples
that live.

Three forms: encoded in few bytes, for channels that are paid by them; light, for those that are not; plain,
for memory.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from glowplug.distributed.channels.base import Buffer
from glowplug.distributed.codec import decode_columns, encode_columns
from glowplug.distributed.errors import FrameCorrupt, FrameMismatch
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.network import Floats
from glowplug.distributed.schedule import Schedule

_HEAD = struct.Struct("<IIII")  # form, rows, samples, living samples
_PLAIN, _LIGHT = 0, 1
_LIGHT_LEVEL = -1

Columns = NDArray[np.int64]


class _Zstd(threading.local):
    """Each thread keeps its own: to make one takes as long as it takes to compress some rows."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(_LIGHT_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


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
    picked = values if len(rows) == len(values) else values[rows]
    return Kind.ROWS, encode_columns(rows, picked, columns, samples)


def plain(values: Floats, columns: Columns, samples: int) -> tuple[Kind, bytes]:
    """As they are, rows of zeros too."""
    return Kind.BYTES, b"".join(
        (_head(_PLAIN, values, columns, samples), *_content(values, columns, samples))
    )


def light(values: Floats, columns: Columns, samples: int) -> tuple[Kind, bytes]:
    """As they are, through the fastest compression that finds rows that are alike."""
    content = _zstd.compressor.compress(b"".join(_content(values, columns, samples)))
    return Kind.BYTES, _head(_LIGHT, values, columns, samples) + content


FORMS = {"encoded": encoded, "light": light, "plain": plain}


def _head(form: int, values: Floats, columns: Columns, samples: int) -> bytes:
    return _HEAD.pack(form, len(values), samples, len(columns))


def _content(values: Floats, columns: Columns, samples: int) -> tuple[bytes, memoryview]:
    lives = np.zeros(samples, np.bool_)
    lives[columns] = True
    return np.packbits(lives).tobytes(), np.ascontiguousarray(values).data


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
        return Block(*decode_columns(payload.body, samples=samples, neurons=many, most_rows=many))
    return _opened_bytes(memoryview(payload.body), many, samples)


def _opened_bytes(body: memoryview, many: int, samples: int) -> Block:
    if len(body) < _HEAD.size:
        raise FrameCorrupt(f"rows in {len(body)} bytes")
    form, rows, width, living = _HEAD.unpack_from(body)
    if (rows, width) != (many, samples) or living > samples:
        raise FrameMismatch(f"{rows} rows of {width} samples came, not {many} of {samples}")
    bitmap_bytes = -(-samples // 8)
    content = _expanded(form, body[_HEAD.size :], bitmap_bytes + 4 * many * living)
    columns = np.flatnonzero(np.unpackbits(np.frombuffer(content, np.uint8, bitmap_bytes), count=samples))
    if len(columns) != living:
        raise FrameCorrupt(f"a bitmap of {len(columns)} living samples, not {living}")
    values = np.frombuffer(content, np.float32, many * living, bitmap_bytes)
    return Block(np.arange(many), columns, values.reshape(many, living))


def _expanded(form: int, content: memoryview, nbytes: int) -> Buffer:
    """Never more than `nbytes`, whatever came."""
    if form == _LIGHT:
        try:
            if zstandard.frame_content_size(content) != nbytes:
                raise FrameCorrupt(f"compressed rows that are not of {nbytes} bytes")
            return _zstd.decompressor.decompress(content, nbytes, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise FrameCorrupt(f"compressed rows that do not expand: {error}") from error
    if form != _PLAIN or len(content) != nbytes:
        raise FrameCorrupt(f"rows of form {form} in {len(content)} bytes, not {nbytes}")
    return content
