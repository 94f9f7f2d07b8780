"""What every source can do, and the checks they share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from glowplug.loader.errors import RangeRefused


class Advice(msgspec.Struct, frozen=True):
    """How to read a source fast.

    `parallel` reads of `read_bytes` each in flight keep it busy. `mappable`: a file of a local disk, which
    may be memory-mapped; anything else is streamed.
    """

    parallel: int
    read_bytes: int
    mappable: bool = False


class WeightSource(Protocol):
    """Random access to the bytes of one pack. Safe to use from several threads at once, but for `close`."""

    @property
    def name(self) -> str:
        """For messages: a path, or a URL without what is secret in it."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    @property
    def advice(self) -> Advice: ...

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        """Fills the first `length` bytes of `buffer` from `offset`, or raises.

        After an error only its `done_bytes` are right. Raises PackTruncated where a local file ends
        before, RangeRefused where anything else does, another SourceError or OSError where it cannot be
        read; ValueError for a negative offset or length and for a
        buffer that is too small, TypeError for one that cannot be written.
        """

    def close(self) -> None:
        """Gives back what it holds; a second time does nothing. No read may be under way, or come after."""


@runtime_checkable
class BoundedSource(WeightSource, Protocol):
    """A source that can give a read up while it waits for bytes."""

    def read_within(
        self, buffer: bytearray | memoryview, offset: int, length: int, within_s: float | None
    ) -> None:
        """As `read_into`; raises ReadDeadline when that takes longer than `within_s` (None: no limit)."""


_PIECE_BYTES = 4 * 2**20


def read_pieces(source: WeightSource, view: memoryview, offset: int) -> None:
    """Fills `view` from `offset`, in reads each of which may have the time, and the attempts, of one. Raises
    as `read_into` does."""
    for start in range(0, view.nbytes, _PIECE_BYTES):
        piece = view[start : start + _PIECE_BYTES]
        source.read_into(piece, offset + start, piece.nbytes)


def target(buffer: bytearray | memoryview, length: int) -> memoryview:
    """The first `length` bytes of `buffer`, writable. Raises ValueError (too small, negative), TypeError."""
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError("a read-only buffer cannot be read into")
    if not 0 <= length <= view.nbytes:
        raise ValueError(f"{length} bytes do not fit a buffer of {view.nbytes}")
    return view[:length]


def check_range(name: str, size: int, offset: int, length: int) -> None:
    """Raises ValueError for a negative offset, RangeRefused for what ends after `size`."""
    if offset < 0:
        raise ValueError(f"{name} has no offset {offset}")
    if offset + length > size:
        raise RangeRefused(
            f"{name} has {size} bytes; {length} bytes at {offset} were asked for: "
            "it is not the file that was expected"
        )
