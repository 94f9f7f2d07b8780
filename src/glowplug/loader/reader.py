"""Reading a pack."""

from __future__ import annotations

import contextlib
import io
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from glowplug.loader import skeleton
from glowplug.loader.arbiter import Block, Range
from glowplug.loader.arriving import listen
from glowplug.loader.checked import Check
from glowplug.loader.decoding import decode_header, decode_preamble, decode_timings
from glowplug.loader.destination import torch_place
from glowplug.loader.devices.base import Device
from glowplug.loader.errors import PackCorrupt
from glowplug.loader.format import (
    BLOCK_BYTES,
    CHECKSUM_BYTES,
    PREAMBLE_BYTES,
    Header,
    Layout,
    Section,
    checksum,
    digest,
)  # fmt: skip
from glowplug.loader.gates import Gates
from glowplug.loader.info import PackInfo
from glowplug.loader.memory import MADV_POPULATE_READ, Mapping
from glowplug.loader.naming import whereabouts
from glowplug.loader.prefetch import Prefetch, start_prefetch
from glowplug.loader.prime import Prime
from glowplug.loader.rebuild import rebuild
from glowplug.loader.sinks import MappedDeviceSink
from glowplug.loader.sources import FileSource
from glowplug.loader.sources.file import open_regular
from glowplug.loader.tensors import views


def open_pack(path: str | Path | int, arrivals: int | None = None, *, name: str | None = None) -> MappedPack:
    """Opens a pack, or takes an open one by its descriptor, and checks its header: a few pages are read, no
    weights. `name` stands for `path` in messages.

    With `arrivals`, a descriptor, the weights are still being written by somebody who tells of them there
    (arriving.py); it is owned from now on.

    Raises PackTruncated, PackCorrupt (no pack, another version, a damaged header), WeightsUnreadable (no
    regular file), OSError.
    """
    name = str(path) if name is None else name
    file = io.FileIO(path) if isinstance(path, int) else open_regular(path)
    try:
        # Here, by fstatfs, is the place to refuse file systems on which a mapping is slow or may vanish.
        source = FileSource(file.fileno(), name)
        preamble = decode_preamble(file.read(PREAMBLE_BYTES), source.size, name)
        body = source.read(PREAMBLE_BYTES, preamble.header_nbytes)
        header, places = decode_header(preamble, body, name)
        timings = source.read(places.timings_offset, places.file_nbytes - places.timings_offset)
        info = PackInfo.of(name, header, places, body, decode_timings(timings) if timings else None)
        return MappedPack(file, source, header, places, info, arrivals)
    except BaseException:
        file.close()
        raise


class MappedPack:
    """An open pack. Holds one file descriptor until `close`; what was loaded lives on after that.

    Made by `open_pack`; also a context manager. Safe to use from several threads, but for `release_pages`.
    """

    def __init__(
        self,
        file: io.FileIO,
        source: FileSource,
        header: Header,
        places: Layout,
        info: PackInfo,
        arrivals: int | None = None,
    ) -> None:
        self.info = info
        self._file = file
        self._source = source
        self._header = header
        self._places = places
        self._maps: weakref.WeakSet[Mapping] = weakref.WeakSet()
        self._gates = Gates(len(header.units), name=info.path) if arrivals is not None else None
        self._arrivals = arrivals

    def fileno(self) -> int:
        """Its descriptor, which is read at places that are named, never where it stands."""
        return self._file.fileno()

    def load(self, place: Callable[[memoryview], Any] | None = None, device: Device | None = None) -> object:
        """Rebuilds the object around a private mapping of the weights: nothing is copied, read ahead or
        checked, for it is called for files that were (or call `check`, or `verify`).

        While weights still arrive the object comes before them, and who uses one waits for it; then this is
        called once. Else each call gives an independent object; writing to a tensor changes neither the
        file nor another object. Runs the code that the skeleton's pickle names. `place` brings weights
        that are all there elsewhere: it gets a mapping that nobody may write and returns what the tensors
        shall live in, a memoryview or a flat uint8 tensor. Or they are copied to a `device`, where they stay
        for as long as this process lives: all of them before this returns, or each unit when it arrives, and
        then who uses one waits for its copy too.

        Raises PackCorrupt (a damaged skeleton), NotRebuildable, OSError, DeviceFull, and what `place` and the
        device raise.
        """
        graph = self._section("skeleton", self._places.skeleton_offset, self._header.skeleton)
        memory, sink = None, None
        if self._header.weights_nbytes:
            mapping = self._map(private=place is None and device is None)
            self._maps.add(mapping)
            memory = weights = mapping.buffer()
            if place is not None:
                memory = place(weights)
            elif device is not None and self._gates is None:
                placement = device.place(weights, device.reserve(weights.nbytes))
                placement.wait()
                memory = placement.memory
            elif device is not None:
                memory = device.allocate(device.reserve(weights.nbytes))
                sink = MappedDeviceSink(device, memory, weights)
        where = torch_place(device, memory) if device is not None else None
        tensors = views(self._header, memory, self.info.path, where)
        if self._gates is None:
            return skeleton.load(graph, tensors, self.info.path)
        gates, path = self._gates, self.info.path
        self._listen(gates, sink)
        obj, needed = rebuild(graph, self._header, tensors, path, gates, None, gates.wait_all)
        for unit in needed:
            gates.wait(unit)
        return obj

    def _listen(self, gates: Gates, sink: MappedDeviceSink | None) -> None:
        arrivals, self._arrivals = self._arrivals, None
        assert arrivals is not None, "what arrives is loaded once"
        if sink is None:
            listen(arrivals, gates, self.info.path)
            return

        def put(number: int) -> None:
            unit = self._header.units[number]
            if unit.nbytes:
                block = Block(number, 0, unit.offset, unit.nbytes)
                sink.put(0, Range(unit.offset, unit.nbytes, (block,)))

        gates.guard = sink.guard
        listen(arrivals, gates, self.info.path, put, sink.finish)

    @property
    def waited_s(self) -> float:
        """Seconds for which somebody waited for weights that were still to arrive."""
        return self._gates.waited_s if self._gates is not None else 0.0

    @property
    def error(self) -> BaseException | None:
        """Why weights that were to arrive never will, or are not what they should be: what was loaded from
        here is worthless then."""
        return self._gates.error if self._gates is not None else None

    def prime(self) -> Prime | None:
        """The calls that warm a loaded object up. Raises PackCorrupt."""
        if self._header.prime is None:
            return None
        data = self._section("prime", self._places.prime_offset, self._header.prime)
        return msgspec.msgpack.decode(data, type=Prime)

    def verify(self) -> None:
        """Reads everything and checks every hash. Raises PackCorrupt naming the first bad unit, its tensors
        and bytes."""
        self._section("skeleton", self._places.skeleton_offset, self._header.skeleton)
        self.prime()
        for number, unit in enumerate(self._header.units):
            if digest(self._chunks(self._places.weights_offset + unit.offset, unit.nbytes)) != unit.hash:
                raise PackCorrupt(self._damage(number))

    def check(self) -> None:
        """`compare`; loads of the same file are spared it then. Raises PackCorrupt as `verify` does."""
        check = Check(self._file.fileno())
        self.compare()
        check.passed()

    def compare(self) -> None:
        """Reads the weights and compares their checksums: against damage, not forgery, at a fiftieth of the
        cost of `verify`. Raises PackCorrupt as that does."""
        for number in range(len(self._header.units)):
            if self._bad_block(number) is not None:
                raise PackCorrupt(self._damage(number))

    def _bad_block(self, number: int) -> tuple[int, int] | None:
        """From where to where in the weights lies the first damaged block of a unit."""
        unit, base = self._header.units[number], self._places.weights_offset
        for block, chunk in enumerate(self._chunks(base + unit.offset, unit.nbytes)):
            if checksum(chunk) != unit.checksums[CHECKSUM_BYTES * block : CHECKSUM_BYTES * (block + 1)]:
                start = unit.offset + BLOCK_BYTES * block
                return start, start + chunk.nbytes
        return None

    def _damage(self, number: int) -> str:
        """Where in a unit it is, as near as a block; the whole unit where every block is as it was packed."""
        unit, base = self._header.units[number], self._places.weights_offset
        start, end = self._bad_block(number) or (unit.offset, unit.end)
        where = whereabouts(self._header, number, start, end)
        bounds = f"between bytes {base + start} and {base + end}"
        return f"{self.info.path}: {where} is damaged {bounds}; copy or pack it again"

    def resident_bytes(self) -> int:
        """Bytes of the weights in the page cache; all of them for who neither owns nor may write the file."""
        return self._map(private=False).resident_bytes() if self._header.weights_nbytes else 0

    def prefetch(self, threads: int = 1) -> Prefetch:
        """Reads the weights into the page cache behind the caller's back, unless they look cached, or come
        there by themselves."""
        if self._gates is not None:
            return Prefetch(lambda *_: None, 0, 0)
        return start_prefetch(
            self._file.fileno(),
            self._source,
            self._places.weights_offset,
            self._header.weights_nbytes,
            threads,
        )

    def release_pages(self) -> int:
        """Unmaps the unwritten pages of what was loaded from here, so that the page cache can drop them.

        They come back from the file at the next use. Returns bytes. No other thread may write
        to the weights meanwhile.
        """
        return sum(mapping.release_clean() for mapping in list(self._maps))

    def map_pages(self) -> None:
        """Maps the pages of what was loaded from here: reads those that the page cache does not have. Nothing
        where the kernel cannot (before Linux 5.14). Forked children do not inherit them."""
        for mapping in list(self._maps):
            with contextlib.suppress(OSError):
                mapping.advise(MADV_POPULATE_READ)

    def close(self) -> None:
        """Closes the file; a second time does nothing. A prefetch must have ended."""
        self._file.close()
        arrivals, self._arrivals = self._arrivals, None
        if arrivals is not None:
            os.close(arrivals)

    def __enter__(self) -> MappedPack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _map(self, *, private: bool) -> Mapping:
        start, nbytes = self._places.weights_offset, self._header.weights_nbytes
        return Mapping(self._file.fileno(), start, nbytes, private=private)

    def _section(self, name: str, offset: int, section: Section) -> bytes:
        data = self._source.read(offset, section.nbytes)
        if digest([data]) != section.hash:
            raise PackCorrupt(
                f"{self.info.path}: the {name} is damaged (its hash differs); copy or pack it again"
            )
        return data

    def _chunks(self, offset: int, nbytes: int) -> Iterator[memoryview]:
        """The bytes of a range, in a buffer that is used again for each chunk."""
        view = memoryview(bytearray(min(nbytes, BLOCK_BYTES)))
        for done in range(0, nbytes, BLOCK_BYTES):
            length = min(BLOCK_BYTES, nbytes - done)
            self._source.read_into(view, offset + done, length)
            yield view[:length]
