"""The pack: one file that holds an object graph and its tensors.

    preamble   64 bytes: magic, version, flags, header bytes, file bytes, hash of the preamble and header
    header     msgpack of `Header`: where everything lies, and its hashes
    skeleton   pickle of the object graph, each tensor replaced by its number
    prime      msgpack of the calls that warm the object up (optional)
    weights    starts on a page; units start on pages, tensors on 64 bytes, in the order of execution;
               a checksum for each block of a unit, so that any part can be trusted as it arrives
    timings    one float64 per unit: seconds of compute, measured (optional)

Sizes and offsets are bytes, little-endian. Weight offsets count from the start of the weights, so they do not
depend on the sizes before them. Timings stand outside every hash: the same content has the same `digest`
however fast the machine was that packed it.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable
from typing import Annotated

import msgspec
import xxhash

MAGIC = b"GLOWPACK"
VERSION = 3
"""Of what is written. Readers know those of `READABLE`, and refuse all others by their number."""
READABLE = (2, 3)
"""2 ends its header before `attributes` and `turned`: what code builds for it has no other tensors than
parameters and buffers, and is for inference."""
PAGE_BYTES = 4096
TENSOR_ALIGN_BYTES = 64
BLOCK_BYTES = 2**20
"""What is checked by one checksum: small enough to be still in a core's cache after it was read."""
HASH_BYTES = 32
CHECKSUM_BYTES = 8
MOST_HEADER_BYTES = 100 * 10**6
"""Of what is read, and believed to be a header, before its hash can be checked."""
TIMED_FLAG = 1
PREAMBLE = struct.Struct(f"<8sIIQQ{HASH_BYTES}s")
PREAMBLE_BYTES = PREAMBLE.size

Size = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class StorageEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One run of memory: of one tensor, or of several that overlap."""

    offset: Size
    nbytes: Size


class TensorEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`start` counts elements from the start of `storage`; `stride` is None when row-major."""

    name: str
    dtype: str
    shape: tuple[Size, ...]
    storage: Size
    start: Size
    stride: tuple[Size, ...] | None
    parameter: bool
    requires_grad: bool

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


class UnitEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Consecutive layers that are fetched and checked together. `hash` is proof against forgery, the
    `checksums` (one a block, end to end) against damage, at a fiftieth of its cost."""

    layers: tuple[str, ...]
    offset: Size
    nbytes: Size
    hash: bytes
    checksums: bytes

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


class Section(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    nbytes: Size
    hash: bytes


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`exposed` are the numbers of tensors that something else than a module's parameters and buffers holds:
    who uses them cannot be made to wait, so they must be there before the object is handed out.
    `attributes` are (number, path) of these, as far as there is a way to where they lie (attributes.py); of
    one without a name all places are among them, or none. `turned` are the paths of the modules whose mode is
    not that of the module around them; around the outermost is inference."""

    tensors: tuple[TensorEntry, ...]
    storages: tuple[StorageEntry, ...]
    units: tuple[UnitEntry, ...]
    weights_nbytes: Size
    skeleton: Section
    prime: Section | None
    exposed: tuple[Size, ...] = ()
    attributes: tuple[tuple[Size, str], ...] = ()
    turned: tuple[str, ...] = ()


class Layout(msgspec.Struct, frozen=True):
    """Where the parts lie, counted from the start of the file."""

    skeleton_offset: int
    prime_offset: int
    weights_offset: int
    timings_offset: int
    file_nbytes: int


class Preamble(msgspec.Struct, frozen=True):
    version: int
    flags: int
    header_nbytes: int
    file_nbytes: int
    header_hash: bytes
    actual_nbytes: int
    """May be less, where the header is there to tell what is missing."""


def digest(chunks: Iterable[bytes | memoryview]) -> bytes:
    """The hash used all over a pack: BLAKE2b, 32 bytes."""
    state = hashlib.blake2b(digest_size=HASH_BYTES)
    for chunk in chunks:
        state.update(chunk)
    return state.digest()


def checksum(block: bytes | memoryview) -> bytes:
    """XXH3, 64 bits: as fast as memory."""
    return xxhash.xxh3_64_digest(block)


def checksums_nbytes(nbytes: int) -> int:
    """Bytes of the checksums of so many bytes."""
    return CHECKSUM_BYTES * -(-nbytes // BLOCK_BYTES)


def block_checksums(chunks: Iterable[bytes | memoryview]) -> bytes:
    """One for each `BLOCK_BYTES` of the concatenated chunks; the last block may be shorter."""
    found: list[bytes] = []
    state, room = xxhash.xxh3_64(), BLOCK_BYTES
    for chunk in chunks:
        view = memoryview(chunk)
        while view.nbytes:
            part, view = view[:room], view[room:]
            state.update(part)
            room -= part.nbytes
            if not room:
                found.append(state.digest())
                state, room = xxhash.xxh3_64(), BLOCK_BYTES
    if room < BLOCK_BYTES:
        found.append(state.digest())
    return b"".join(found)


def align(offset: int, to: int) -> int:
    return -(-offset // to) * to


def layout(header: Header, header_nbytes: int, timed: bool) -> Layout:
    skeleton_offset = PREAMBLE_BYTES + header_nbytes
    prime_offset = skeleton_offset + header.skeleton.nbytes
    weights_offset = align(prime_offset + (header.prime.nbytes if header.prime else 0), PAGE_BYTES)
    timings_offset = weights_offset + header.weights_nbytes
    timings_nbytes = 8 * len(header.units) if timed else 0
    return Layout(
        skeleton_offset, prime_offset, weights_offset, timings_offset, timings_offset + timings_nbytes
    )


def encode(header: Header, timed: bool) -> tuple[bytes, bytes]:
    """Returns (preamble, header bytes). Their length depends on sizes only, never on the hashes in them."""
    body = msgspec.msgpack.encode(header)
    flags = TIMED_FLAG if timed else 0
    file_nbytes = layout(header, len(body), timed).file_nbytes
    fields = (MAGIC, VERSION, flags, len(body), file_nbytes)
    return PREAMBLE.pack(*fields, seal(fields, body)), body


def seal(fields: tuple[bytes, int, int, int, int], body: bytes) -> bytes:
    """The hash of preamble and header: `fields` are the preamble's others."""
    return digest([PREAMBLE.pack(*fields, bytes(HASH_BYTES)), body])


def encode_timings(compute_s: Iterable[float]) -> bytes:
    values = list(compute_s)
    return struct.pack(f"<{len(values)}d", *values)
