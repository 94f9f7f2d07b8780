"""Weights that are used where they lie, in the page cache: fetching them is filling page tables."""

from __future__ import annotations

import errno
import mmap

from glowplug.loader.memory import MADV_POPULATE_READ, Mapping
from glowplug.loader.sources import WeightSource
from glowplug.loader.sources.base import Advice
from glowplug.loader.sources.file import FileSource


def map_weights(
    source: WeightSource, offset: int, nbytes: int, *, private: bool
) -> tuple[memoryview, WeightSource]:
    """(the weights as memory of this process, a source whose reads bring them there). What is not private
    cannot be written.

    Raises ValueError when the source is no file of a local disk, OSError.
    """
    if not source.advice.mappable or not isinstance(source, FileSource):
        raise ValueError(
            f"{source.name} cannot be mapped: it is no file of a local disk; use strategy streamed"
        )
    start = offset // mmap.PAGESIZE * mmap.PAGESIZE  # other formats than ours care little for pages
    mapping = Mapping(source.fileno(), start, offset - start + nbytes, private=private)
    return mapping.buffer()[offset - start :], PopulatingSource(source, mapping, start)


class PopulatingSource:
    """Reads by the page tables: no byte is copied, which leaves the processor to those who compute
    meanwhile.
    """

    def __init__(self, file: FileSource, mapping: Mapping, base: int) -> None:
        self.name = file.name
        self.size = file.size
        self.advice = Advice(parallel=1, read_bytes=file.advice.read_bytes, mappable=True)
        self._file = file
        self._mapping = mapping
        self._base = base

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        """`buffer` is part of the mapping itself. Raises OSError."""
        start = offset - self._base
        aligned = start // mmap.PAGESIZE * mmap.PAGESIZE
        try:
            self._mapping.advise(MADV_POPULATE_READ, aligned, start + length - aligned)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Linux before 5.14 cannot; reading the file fills the page cache, and faults the tables.
            self._file.read_into(bytearray(length), offset, length)

    def close(self) -> None:
        self._file.close()
