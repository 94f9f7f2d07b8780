"""What a file of weights says about itself: a pack, or a safetensors file, from any source.

A pack knows its object, its units in the order of execution, and its checksums. A safetensors file knows
names and places only: it is loaded by the same pipeline, for an object that somebody else builds, in the
order in which it lists its tensors, on trust.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from glowplug.loader.errors import PackCorrupt, WeightsUnreadable
from glowplug.loader.format import (
    MAGIC,
    PREAMBLE_BYTES,
    Header,
    Section,
    StorageEntry,
    TensorEntry,
    UnitEntry,
    checksums_nbytes,
    decode_header,
    decode_preamble,
    digest,
)  # fmt: skip
from glowplug.loader.sources import WeightSource
from glowplug.loader.tensors import UNIT_BYTES
from glowplug.loader.weights import TORCH_SUFFIXES

_HEAD_BYTES = 256 * 2**10
"""Read at once, in the hope that all but the weights is in it: a store far away answers it as fast as
less.
"""
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "C64": "complex64", "U16": "uint16", "U32": "uint32", "U64": "uint64",
}  # fmt: skip
_MOST_HEADER_BYTES = 100 * 10**6
_EMPTY = Section(0, b"")


class Contents(msgspec.Struct, frozen=True):
    """`skeleton` and `prime` are None for what is no pack, and `checked` is False: it has no checksums.
    `prime` is None also where nobody asked for it."""

    header: Header
    weights_offset: int
    skeleton: bytes | None
    prime: bytes | None
    checked: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """A name for each unit."""
        return tuple(", ".join(unit.layers) or "-" for unit in self.header.units)

    def tensors_between(self, start: int, end: int) -> Sequence[TensorEntry]:
        """Those that lie, wholly or in part, in these bytes of the weights."""
        storages = self.header.storages
        return [
            tensor
            for tensor in self.header.tensors
            if storages[tensor.storage].offset < end
            and storages[tensor.storage].offset + storages[tensor.storage].nbytes > start
        ]


def read_contents(source: WeightSource, *, primed: bool = False) -> Contents:
    """Reads the head of the source, in one read where it is short. `primed`: the calls that warm the object
    up as well, which may be longer than all else; without, a load is spared to wait for them.

    Raises PackTruncated and PackCorrupt, WeightsUnreadable for what is neither a pack nor safetensors, and
    what the source raises.
    """
    head = _Head(source)
    start = head.read(0, min(PREAMBLE_BYTES, source.size))
    if start[: len(MAGIC)] == MAGIC:
        return _pack(head, start, primed)
    if source.size > 8 and 0 < struct.unpack("<Q", start[:8])[0] <= min(source.size - 8, _MOST_HEADER_BYTES):
        return _safetensors(head, struct.unpack("<Q", start[:8])[0])
    if Path(source.name).suffix.lower() in TORCH_SUFFIXES:
        raise WeightsUnreadable(
            f"{source.name} is no pack, and a torch file is loaded by load(FILE, build=), from this machine; "
            "pack the model, or save its weights as safetensors"
        )
    raise WeightsUnreadable(
        f"{source.name} is neither a pack nor a safetensors file; pack the model, or check the address"
    )


class _Head:
    """The beginning of a source, read once and grown where it must be."""

    def __init__(self, source: WeightSource) -> None:
        self.source = source
        self._data = self._fetch(0, min(_HEAD_BYTES, source.size))

    def read(self, offset: int, nbytes: int) -> bytes:
        if offset + nbytes > len(self._data):
            missing = offset + nbytes - len(self._data)
            self._data += self._fetch(len(self._data), min(missing, self.source.size - len(self._data)))
        return bytes(memoryview(self._data)[offset : offset + nbytes])

    def _fetch(self, offset: int, nbytes: int) -> bytearray:
        buffer = bytearray(nbytes)
        self.source.read_into(buffer, offset, nbytes)
        return buffer


def _pack(head: _Head, start: bytes, primed: bool) -> Contents:
    name = head.source.name
    preamble = decode_preamble(start, head.source.size, name)
    body = head.read(PREAMBLE_BYTES, preamble.header_nbytes)
    header, places = decode_header(preamble, body, name)

    def section(what: str, offset: int, entry: Section) -> bytes:
        data = head.read(offset, entry.nbytes)
        if digest([data]) != entry.hash:
            raise PackCorrupt(f"{name}: the {what} is damaged (its hash differs); copy or pack it again")
        return data

    skeleton = section("skeleton", places.skeleton_offset, header.skeleton)
    wanted = header.prime if primed else None
    prime = section("prime", places.prime_offset, wanted) if wanted is not None else None
    return Contents(header, places.weights_offset, skeleton, prime, checked=True)


def _safetensors(head: _Head, header_nbytes: int) -> Contents:
    name = head.source.name
    weights_offset = 8 + header_nbytes
    try:
        listed: dict[str, Any] = json.loads(head.read(8, header_nbytes))
        listed.pop("__metadata__", None)
        entries = sorted(listed.items(), key=lambda item: item[1]["data_offsets"])
        tensors, storages = [], []
        for number, (tensor, entry) in enumerate(entries):
            start, end = entry["data_offsets"]
            made = TensorEntry(
                tensor, _DTYPES[entry["dtype"]], tuple(entry["shape"]), number, 0, None, True, False
            )
            if not 0 <= start <= end <= head.source.size - weights_offset:
                raise ValueError(f"tensor {tensor} reaches past the end")
            tensors.append(made)
            storages.append(StorageEntry(start, end - start))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsUnreadable(
            f"{name} is truncated or no safetensors file ({error}); download or save it again"
        ) from error
    nbytes = max((storage.offset + storage.nbytes for storage in storages), default=0)
    header = Header(tuple(tensors), tuple(storages), _grouped(tensors, storages), nbytes, _EMPTY, None)
    return Contents(header, weights_offset, None, None, checked=False)


def _grouped(tensors: Sequence[TensorEntry], storages: Sequence[StorageEntry]) -> tuple[UnitEntry, ...]:
    """Units of whole layers as the file lists them: a layer is what comes before a name's last dot."""
    units: list[UnitEntry] = []
    layers: list[str] = []
    start = end = 0
    by_layer = itertools.groupby(
        zip(tensors, storages, strict=True), lambda pair: pair[0].name.rpartition(".")[0]
    )
    for layer, members in by_layer:
        layers.append(layer)
        end = max(end, *(storage.offset + storage.nbytes for _, storage in members))
        if end - start >= UNIT_BYTES:
            units.append(
                UnitEntry(tuple(layers), start, end - start, b"", bytes(checksums_nbytes(end - start)))
            )
            start, layers = end, []
    if layers:
        units.append(UnitEntry(tuple(layers), start, end - start, b"", bytes(checksums_nbytes(end - start))))
    return tuple(units)
