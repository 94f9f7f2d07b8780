"""A part in a file: its arrays, 64-byte aligned, an index, where that starts, and a hash of all before it.
Written layer by layer, read by mapping.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from glowplug.core.errors import WeightsError
from glowplug.distributed.network import Network
from glowplug.distributed.partition.result import Partition
from glowplug.distributed.parts import PartLayer, part_layers

_ALIGN = 64
_PIECE_BYTES = 64 * 2**20
_MAGIC = b"glowpart"
_TAIL = struct.Struct("<QQ8s")  # start of the index, hash of all before the tail, magic
VERSION = 2


class Part(msgspec.Struct, frozen=True, eq=False):
    """What one role of a partition needs to compute: its layers, ascending. The arrays are read-only views of
    the mapped file."""

    role: int
    layers: tuple[PartLayer, ...]
    version: int = VERSION

    @property
    def weights_bytes(self) -> int:
        return sum(layer.weights_bytes for layer in self.layers)

    @property
    def height(self) -> int:
        """The most rows that a buffer of this part holds."""
        return max(max(layer.height, len(layer.rows)) for layer in self.layers)


class _Index(msgspec.Struct, frozen=True):
    role: int
    version: int
    layers: list[msgspec.Raw]


class _Writer:
    def __init__(self, path: Path, role: int) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._hash = xxhash.xxh3_64()
        self._at = 0
        self._encoder = msgspec.msgpack.Encoder(enc_hook=self._put)
        self._index = _Index(role, VERSION, [])

    def add(self, layer: PartLayer) -> None:
        self._index.layers.append(msgspec.Raw(self._encoder.encode(layer)))

    def close(self) -> None:
        start = self._at
        self._write(msgspec.msgpack.encode(self._index))
        self._file.write(_TAIL.pack(start, self._hash.intdigest(), _MAGIC))
        self._file.close()

    def _put(self, array: Any) -> tuple[int, str, int]:
        if not isinstance(array, np.ndarray):
            raise NotImplementedError(f"{type(array).__name__} has no place in a part")
        self._write(b"\0" * (-self._at % _ALIGN))
        start = self._at
        self._write(np.ascontiguousarray(array).data.cast("B"))
        return start, array.dtype.str, array.size

    def _write(self, content: bytes | memoryview) -> None:
        self._hash.update(content)
        self._at += self._file.write(content)


def write_parts(network: Network, partition: Partition, paths: Sequence[Path]) -> tuple[int, ...]:
    """Writes each role's part to its path; returns the rows that are sent before each layer.

    Passes over the network once, holding two layers.
    """
    writers = [_Writer(path, role) for role, path in enumerate(paths)]
    rows_sent = []
    try:
        for layers in part_layers(network, partition):
            rows_sent.append(sum(len(flow.rows) for layer in layers if layer for flow in layer.sources))
            for writer, layer in zip(writers, layers, strict=True):
                if layer is not None:
                    writer.add(layer)
    finally:
        for writer in writers:
            writer.close()
    return tuple(rows_sent)


def read_part(path: Path, *, check: bool = True, own: bool = False) -> Part:
    """Maps a part, and reads all of it where it is to `check` its hash.

    `own` copies it into memory of this process and lets the machine forget its pages: mapped ones count as
    whoever's read or wrote them first, so no cap on this process would see them. Raises WeightsError when
    it is cut short, damaged or of another version.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _TAIL.size:
            raise WeightsError(f"{path.name} is cut short: write the parts again")
        mapped = _copied(file, size) if own else mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    start, digest, magic = _TAIL.unpack_from(mapped, size - _TAIL.size)
    if magic != _MAGIC:
        raise WeightsError(f"{path.name} is not a whole part: write the parts again")
    content = memoryview(mapped)[: -_TAIL.size]
    if check and xxhash.xxh3_64_intdigest(content) != digest:
        raise WeightsError(f"{path.name} is damaged: write the parts again")

    def view(kind: Any, place: tuple[int, str, int]) -> NDArray[Any]:
        offset, dtype, count = place
        return np.frombuffer(mapped, np.dtype(dtype), count, offset)

    try:
        part: Part = msgspec.msgpack.decode(content[start:], type=Part, dec_hook=view)
    except (msgspec.MsgspecError, ValueError) as error:
        raise WeightsError(f"{path.name} cannot be read: {error}; write the parts again") from error
    if part.version != VERSION:
        raise WeightsError(f"{path.name} has version {part.version}, this worker reads {VERSION}")
    return part


def _copied(file: IO[bytes], size: int) -> mmap.mmap:
    """Piece by piece, so that the pages of the file and their copies are never all in memory."""
    copy = mmap.mmap(-1, size)
    target = memoryview(copy)
    for start in range(0, size, _PIECE_BYTES):
        end = min(start + _PIECE_BYTES, size)
        if os.preadv(file.fileno(), [target[start:end]], start) != end - start:
            raise WeightsError(f"{file.name} got shorter while it was read: write the parts again")
        os.posix_fadvise(file.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)
    target.release()
    return copy
