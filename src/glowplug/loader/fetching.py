"""Fetching the weights of one load: Cicada's weight decoupler. Bytes arrive in whatever order they arrive.

Which thread reads which of them, and when, is in fetchers.py.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence

from glowplug.loader.arbiter import Block, Range, cut
from glowplug.loader.archive_sums import ArchiveSums
from glowplug.loader.contents import Contents
from glowplug.loader.errors import PackCorrupt, PackTruncated, SourceError, WeightsUnreadable
from glowplug.loader.format import BLOCK_BYTES, CHECKSUM_BYTES, checksum
from glowplug.loader.naming import whereabouts
from glowplug.loader.sinks import Sink
from glowplug.loader.sources import WeightSource
from glowplug.loader.stages import Recorder


class Fetch:
    """The weights of one load on their way from a source into a sink.

    `arrived(unit)` is called in an I/O thread when a unit is whole and its checksums hold; `failed(error)` at
    most once, and then nothing more arrives. `over` is set when no more reads will begin, and `finished` is
    called, once, when those under way have ended too.
    """

    def __init__(
        self,
        source: WeightSource,
        contents: Contents,
        sink: Sink,
        arrived: Callable[[int], object],
        failed: Callable[[BaseException], object],
        finished: Callable[[], object],
        recorder: Recorder | None = None,
    ) -> None:
        self.over = threading.Event()
        self._source = source
        self._contents = contents
        self._sink = sink
        self._base = contents.weights_offset
        self._units = units = contents.header.units
        self._arrived = arrived
        self._failed = failed
        self._finished = finished
        self._reading = 0
        self._reading_bytes = 0
        self.most_bytes = 0
        """The most that was under way at once."""
        self._recorder = recorder
        self._left = [-(-unit.nbytes // BLOCK_BYTES) for unit in units]
        self._missing = sum(1 for left in self._left if left)
        self._sums = (
            ArchiveSums(contents.header.storages, contents.sums) if contents.sums is not None else None
        )
        self._lock = threading.Lock()

    def renew(self) -> None:
        """In a forked child: no read begins, and of those under way none will end there."""
        self._lock = threading.Lock()
        self.over = threading.Event()
        self.over.set()

    def ranges(self, units: Sequence[int], read_bytes: int) -> list[Range]:
        """What must be read for these units."""
        places = [(unit, self._units[unit].offset, self._units[unit].nbytes) for unit in units]
        return cut(places, BLOCK_BYTES, read_bytes)

    @property
    def whole(self) -> bool:
        """Whether every unit has arrived."""
        return not self._missing

    def has(self, unit: int) -> bool:
        """Whether all of the unit was read."""
        return not self._left[unit]

    @property
    def units(self) -> range:
        return range(len(self._units))

    def read(self, one: Range) -> None:
        """Reads and checks one range, and tells who wants to know."""
        with self._lock:
            if self.over.is_set():
                return
            self._reading += 1
            self._reading_bytes += one.nbytes
            self.most_bytes = max(self.most_bytes, self._reading_bytes)
        try:
            start_s = self._read(one)
            end_s = time.perf_counter()
            for unit, blocks in itertools.groupby(one.blocks, lambda block: block.unit):
                if self._recorder is not None:
                    self._recorder.add("fetch", unit, start_s, end_s)
                self._took(unit, len(list(blocks)))
        except BaseException as error:
            self.fail(error)
        finally:
            self._end(one.nbytes)

    def fail(self, error: BaseException) -> None:
        """No more reads begin; whoever waits is told why. After the end it does nothing."""
        with self._lock:
            if self.over.is_set():
                return
            self._reading += 1  # holds the end back until everybody knows
            self.over.set()
        self._failed(error)
        self._end()

    def end_if_empty(self) -> bool:
        """There may be nothing to read at all; then this is the end, and True."""
        with self._lock:
            if self._missing or self.over.is_set():
                return False
            self._reading += 1
            self.over.set()
        self._end()
        return True

    def _read(self, one: Range) -> float:
        """Fills the range's place in the sink; returns when reading began. Raises what the source raises."""
        place = self._sink.room(one.nbytes)
        try:
            start_s = time.perf_counter()
            view = self._sink.view(place, one)
            self._source.read_into(view, self._base + one.offset, one.nbytes)
            if self._contents.checked:
                for block in one.blocks:
                    self._check(block, view[block.offset - one.offset :][: block.nbytes])
            if self._sums is not None:
                for block in one.blocks:
                    self._sums.add(block, view[block.offset - one.offset :][: block.nbytes])
        except (SourceError, PackTruncated, OSError) as error:
            self._sink.give_up(place)
            start, where = (
                self._base + one.offset,
                self._whereabouts(one.blocks[0].unit, one.offset, one.nbytes),
            )
            raise _located(error, f"{where}, bytes {start} to {start + one.nbytes}") from error
        except BaseException:
            self._sink.give_up(place)
            raise
        self._sink.put(place, one)
        return start_s

    def _took(self, unit: int, blocks: int) -> None:
        with self._lock:
            self._left[unit] -= blocks
            whole = not self._left[unit]
        if whole:
            self._require_sums(unit)
            with self._lock:
                self._missing -= 1
            self._arrived(unit)

    def _end(self, nbytes: int = 0) -> None:
        """A read ended; with the last one of all, so does the fetch."""
        with self._lock:
            self._reading -= 1
            self._reading_bytes -= nbytes
            if not self._missing:
                self.over.set()
            finished = self.over.is_set() and not self._reading
        if finished:
            self._finished()

    def _check(self, block: Block, view: memoryview) -> None:
        """A block that arrived damaged is fetched once more: links flip bits, stores rarely do."""
        unit = self._units[block.unit]
        expected = unit.checksums[CHECKSUM_BYTES * block.number : CHECKSUM_BYTES * (block.number + 1)]
        if checksum(view) == expected:
            return
        start = self._base + block.offset
        self._source.read_into(view, start, block.nbytes)
        if checksum(view) != expected:
            where = self._whereabouts(block.unit, block.offset, block.nbytes)
            raise PackCorrupt(
                f"{self._source.name}: {where} is damaged between bytes {start} and {start + block.nbytes}; "
                "copy or pack it again"
            )

    def _require_sums(self, unit: int) -> None:
        """Of a unit that is there. What a storage has in memory, or on a device, is used by nobody yet."""
        one = self._units[unit]
        bad = self._sums.damaged(one.offset, one.end) if self._sums is not None else None
        if bad is not None:
            where = self._whereabouts(unit, bad.offset, bad.nbytes)
            start = self._base + bad.offset
            raise WeightsUnreadable(
                f"{self._source.name}: {where} is damaged between bytes {start} and {start + bad.nbytes} "
                "(its CRC-32 differs); download or save it again"
            )

    def _whereabouts(self, unit: int, offset: int, nbytes: int) -> str:
        return whereabouts(self._contents.header, unit, offset, offset + nbytes)


def _located(error: SourceError | PackTruncated | OSError, where: str) -> Exception:
    """The same error, which says what it is that could not be read."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, f"{error.strerror} ({where})", error.filename)
    return type(error)(f"{error} ({where})")
