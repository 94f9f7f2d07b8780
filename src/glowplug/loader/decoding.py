"""What a pack says of itself, believed only when it holds together."""

from __future__ import annotations

import struct

import msgspec

from glowplug.loader.errors import PackCorrupt, PackTruncated
from glowplug.loader.format import (
    MAGIC,
    MOST_HEADER_BYTES,
    PREAMBLE,
    PREAMBLE_BYTES,
    READABLE,
    TIMED_FLAG,
    Header,
    Layout,
    Preamble,
    checksums_nbytes,
    layout,
    seal,
)  # fmt: skip
from glowplug.loader.naming import few, first_missing, whereabouts


def decode_preamble(data: bytes, actual_nbytes: int, path: str) -> Preamble:
    """Checks that the file is a pack of a version that is known, not longer than it says and not shorter than
    its header.

    Raises PackTruncated and PackCorrupt.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise PackCorrupt(
            f"{path} is not a Glowplug pack: it does not begin with {MAGIC!r}; pack the model again"
        )
    if len(data) < PREAMBLE_BYTES:
        raise PackTruncated(
            f"{path} ends after {actual_nbytes} bytes, inside its preamble; pack the model again"
        )
    _, version, flags, header_nbytes, file_nbytes, header_hash = PREAMBLE.unpack(data)
    if version not in READABLE:
        known, newer = " and ".join(map(str, READABLE)), version > max(READABLE)
        raise PackCorrupt(
            f"{path} has pack format {version}, this is a reader of {known}; pack the model again"
            f"{', or read it by a newer Glowplug' if newer else ''}"
        )
    if header_nbytes > MOST_HEADER_BYTES:
        raise PackCorrupt(
            f"{path} says that its header has {header_nbytes} bytes, more than the {MOST_HEADER_BYTES} that "
            "one may have; copy or pack it again"
        )
    if actual_nbytes > file_nbytes or PREAMBLE_BYTES + header_nbytes > file_nbytes:
        raise PackCorrupt(f"{path} has {actual_nbytes} bytes but says {file_nbytes}; copy or pack it again")
    if actual_nbytes < PREAMBLE_BYTES + header_nbytes:
        raise PackTruncated(
            f"{path} has {actual_nbytes} of {file_nbytes} bytes and ends inside its header; copy or pack it "
            "again"
        )
    return Preamble(version, flags, header_nbytes, file_nbytes, header_hash, actual_nbytes)


def decode_header(preamble: Preamble, body: bytes, path: str) -> tuple[Header, Layout]:
    """Checks the header's hash, that everything it names lies inside the file, every storage inside one
    unit, and that the file is whole. Raises PackCorrupt and PackTruncated."""
    fields = (MAGIC, preamble.version, preamble.flags, preamble.header_nbytes, preamble.file_nbytes)
    if seal(fields, body) != preamble.header_hash:
        raise PackCorrupt(f"{path}: the header is damaged (its hash differs); copy or pack it again")
    try:
        header = msgspec.msgpack.decode(body, type=Header)
    except ValueError as error:
        raise PackCorrupt(f"{path}: the header cannot be read: {error}") from error
    places = layout(header, len(body), bool(preamble.flags & TIMED_FLAG))
    if places.file_nbytes != preamble.file_nbytes:
        raise PackCorrupt(
            f"{path}: its parts add up to {places.file_nbytes}, not {preamble.file_nbytes} bytes"
        )
    held = len(header.storages)
    for tensor in header.tensors:
        strides = tensor.stride
        if tensor.storage >= held or (strides is not None and len(strides) != len(tensor.shape)):
            raise PackCorrupt(f"{path}: the entry of tensor {tensor.name!r} contradicts itself")
    named = (*header.exposed, *(number for number, _ in header.attributes))
    if any(number >= len(header.tensors) for number in named):
        raise PackCorrupt(f"{path}: it names tensors that it does not hold")
    _check_places(header, path)
    for unit in header.units:
        if len(unit.checksums) != checksums_nbytes(unit.nbytes):
            raise PackCorrupt(f"{path}: the entry of unit {', '.join(unit.layers)!r} contradicts itself")
    if preamble.actual_nbytes < preamble.file_nbytes:
        missing = first_missing(header, places, preamble.actual_nbytes)
        raise PackTruncated(
            f"{path} has {preamble.actual_nbytes} of {preamble.file_nbytes} bytes: {missing} is not all "
            "there; copy or pack it again"
        )
    return header, places


def _check_places(header: Header, path: str) -> None:
    """Units and storages lie in the order of the file and share no byte: a storage that reached into the
    next unit would be used before it is there."""
    end, bounds = 0, []
    for number, unit in enumerate(header.units):
        bounds.append((unit.offset, unit.end))
        if not end <= unit.offset <= bounds[-1][1] <= header.weights_nbytes:
            where = whereabouts(header, number, unit.offset, unit.end)
            raise PackCorrupt(
                f"{path}: {where} lies at bytes {unit.offset} to {unit.end} of the weights, which are not "
                f"between {end} and {header.weights_nbytes}; pack the model again"
            )
        end = bounds[-1][1]
    number = end = 0
    for at, storage in enumerate(header.storages):
        start = storage.offset
        storage_end = start + storage.nbytes
        while number < len(bounds) and storage_end > bounds[number][1]:
            number += 1
        if number == len(bounds) or start < end or start < bounds[number][0]:
            names = few([tensor.name for tensor in header.tensors if tensor.storage == at])
            raise PackCorrupt(
                f"{path}: unit {min(number, len(bounds) - 1)}: tensor {names} lies at bytes "
                f"{start} to {storage_end} of the weights, which are not all in it, or not behind "
                "the tensor before; pack the model again"
            )
        end = storage_end


def decode_timings(data: bytes) -> tuple[float, ...]:
    """Seconds per unit; what is no duration becomes 0, for timings are hints and are not hashed."""
    return tuple(value if 0 <= value < 1e9 else 0.0 for (value,) in struct.iter_unpack("<d", data))
