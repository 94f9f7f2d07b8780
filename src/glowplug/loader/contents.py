"""What a file of weights says about itself: a pack, or a safetensors or torch file, from any source.

A pack knows its object, its units in the order of execution, and its checksums. The others know names and
places only: they are loaded by the same pipeline, for an object that somebody else builds, in the order in
which their tensors lie, on trust; but a torch file has a sum for each storage, for who wants it checked.
"""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec

from glowplug.loader.decoding import decode_header, decode_preamble
from glowplug.loader.errors import PackCorrupt, WeightsMismatch, WeightsUnreadable
from glowplug.loader.format import (
    MAGIC,
    PREAMBLE_BYTES,
    VERSION,
    Header,
    Section,
    digest,
)  # fmt: skip
from glowplug.loader.safetensors_file import MOST_HEADER_BYTES, read_safetensors
from glowplug.loader.sources import WeightSource
from glowplug.loader.sources.base import read_pieces
from glowplug.loader.torch_file import MAGIC as ZIP_MAGIC
from glowplug.loader.torch_file import read_torch_file
from glowplug.loader.weights import TORCH_SUFFIXES

_HEAD_BYTES = 256 * 2**10
"""Read at once, in the hope that all but the weights is in it: a store far away answers it as fast as
less.
"""


class Contents(msgspec.Struct, frozen=True):
    """`skeleton` and `prime` are None for what is no pack, and `checked` is False: it has no checksums of
    blocks. They are None also where nobody asked for them. `sums` are the CRC-32 of a torch file's storages.
    Without `checked` and `sums` nothing is checked. `version` is that of a pack's format."""

    header: Header
    weights_offset: int
    skeleton: bytes | None
    prime: bytes | None
    checked: bool
    sums: tuple[int, ...] | None = None
    version: int = VERSION

    @property
    def layers(self) -> tuple[str, ...]:
        """A name for each unit."""
        return tuple(", ".join(unit.layers) or "-" for unit in self.header.units)


def read_contents(source: WeightSource, *, primed: bool = False, skeleton: bool = True) -> Contents:
    """Reads the head of the source, in one read where it is short. `primed`: the calls that warm the object
    up as well, which may be longer than all else; without, a load is spared to wait for them. Who rebuilds
    nothing needs no `skeleton`.

    Raises PackTruncated and PackCorrupt, WeightsUnreadable for what is neither a pack nor plain weights, and
    what the source raises.
    """
    head = _Head(source)
    start = head.read(0, min(PREAMBLE_BYTES, source.size))
    if start[: len(MAGIC)] == MAGIC:
        return _pack(head, start, primed, skeleton)
    if start[: len(ZIP_MAGIC)] == ZIP_MAGIC:
        found = read_torch_file(source)
        return Contents(found.header, found.weights_offset, None, None, checked=False, sums=found.sums)
    header_nbytes = struct.unpack("<Q", start[:8])[0] if source.size > 8 else 0
    if 0 < header_nbytes <= min(source.size - 8, MOST_HEADER_BYTES):
        header, weights_offset = read_safetensors(head.read, source.size, header_nbytes, source.name)
        return Contents(header, weights_offset, None, None, checked=False)
    suffix = Path(source.name).suffix.lower()
    if suffix == ".safetensors":
        raise WeightsUnreadable(
            f"{source.name} is truncated or no safetensors file: it has {source.size} bytes, and a header of "
            f"{header_nbytes} by what it says; download or save it again"
        )
    if suffix in TORCH_SUFFIXES:
        raise WeightsUnreadable(
            f"{source.name} is no pack, and no torch file that can be read by parts, as torch has written "
            "them since 1.6; save it again, or load it from this machine by load(FILE, build=)"
        )
    raise WeightsUnreadable(
        f"{source.name} is neither a pack nor a safetensors or torch file; pack the model, or check the "
        "address"
    )


def no_checksums(name: str) -> str:
    """Why nobody can verify a file of weights."""
    return (
        f"{name} has no checksums, so its weights cannot be verified: a pack has them, and so has what "
        "torch.save writes since 1.6; load it without verify=True (in the shell: without --verify)"
    )


def require_places(contents: Contents, name: str) -> None:
    """Raises WeightsMismatch where code builds the model and the pack is of a version that does not say where
    tensors belong that are neither parameters nor buffers, and has some."""
    header = contents.header
    if contents.version >= 3 or header.attributes or all(tensor.name for tensor in header.tensors):
        return
    why = (
        f"a tensor without a name: it was packed by an earlier version (pack format {contents.version}), "
        "which does not say where that belongs: pack the model again, or load it without build="
    )
    raise WeightsMismatch(name, [why for tensor in header.tensors if not tensor.name])


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
        read_pieces(self.source, memoryview(buffer), offset)
        return buffer


def _pack(head: _Head, start: bytes, primed: bool, rebuilt: bool) -> Contents:
    name = head.source.name
    preamble = decode_preamble(start, head.source.size, name)
    body = head.read(PREAMBLE_BYTES, preamble.header_nbytes)
    header, places = decode_header(preamble, body, name)

    def section(what: str, offset: int, entry: Section) -> bytes:
        data = head.read(offset, entry.nbytes)
        if digest([data]) != entry.hash:
            raise PackCorrupt(f"{name}: the {what} is damaged (its hash differs); copy or pack it again")
        return data

    skeleton = section("skeleton", places.skeleton_offset, header.skeleton) if rebuilt else None
    wanted = header.prime if primed else None
    prime = section("prime", places.prime_offset, wanted) if wanted is not None else None
    return Contents(
        header, places.weights_offset, skeleton, prime, checked=True, version=preamble.version
    )  # fmt: skip
