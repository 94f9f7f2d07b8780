"""Fetching on I/O threads: Cicada's weight decoupler. Bytes arrive in whatever order they arrive.

One `Fetchers` serves all loads of a process; its arbiter decides what each thread reads next.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence

from glowplug.loader.arbiter import Arbiter, Block, Job, Priority, Range, cut
from glowplug.loader.contents import Contents
from glowplug.loader.errors import PackCorrupt, SourceError
from glowplug.loader.format import BLOCK_BYTES, CHECKSUM_BYTES, checksum
from glowplug.loader.sinks import READ_BYTES, Sink
from glowplug.loader.sources import WeightSource
from glowplug.loader.stages import Recorder

_BACKGROUND_NICE = 15


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
        self._recorder = recorder
        self._left = [-(-unit.nbytes // BLOCK_BYTES) for unit in units]
        self._missing = sum(1 for left in self._left if left)
        self._lock = threading.Lock()

    def ranges(self, units: Sequence[int], read_bytes: int) -> list[Range]:
        """What must be read for these units."""
        places = [(unit, self._units[unit].offset, self._units[unit].nbytes) for unit in units]
        return cut(places, BLOCK_BYTES, read_bytes)

    @property
    def units(self) -> range:
        return range(len(self._units))

    def read(self, one: Range) -> None:
        """Reads and checks one range, and tells who wants to know."""
        with self._lock:
            if self.over.is_set():
                return
            self._reading += 1
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
            self._end()

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
        except SourceError as error:
            self._sink.give_up(place)
            block = one.blocks[0]
            raise type(error)(f"{error} ({self._whereabouts(block.unit, one.offset, one.nbytes)})") from error
        except BaseException:
            self._sink.give_up(place)
            raise
        self._sink.put(place, one)
        return start_s

    def _took(self, unit: int, blocks: int) -> None:
        with self._lock:
            self._left[unit] -= blocks
            whole = not self._left[unit]
            self._missing -= whole
        if whole:
            self._arrived(unit)

    def _end(self) -> None:
        """A read ended; with the last one of all, so does the fetch."""
        with self._lock:
            self._reading -= 1
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

    def _whereabouts(self, unit: int, offset: int, nbytes: int) -> str:
        """Some bytes of the weights, in the words of their model."""
        inside = self._contents.tensors_between(offset, offset + nbytes)
        layers, tensors = _few(self._units[unit].layers), _few([tensor.name for tensor in inside])
        return f"unit {unit} (layers: {layers}; tensors: {tensors})"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


class Fetchers:
    """I/O threads for all loads of a process. They start when there is work and end when there is none."""

    def __init__(self, threads: int = 8, background_threads: int = 2) -> None:
        self._arbiter = Arbiter()
        self._condition = threading.Condition()
        self._fetches: dict[int, Fetch] = {}
        self._parallel: dict[int, tuple[Priority, int]] = {}
        self._limits = {False: threads, True: background_threads}
        self._running = {False: 0, True: 0}
        self._numbers = itertools.count(1)

    def start(self, fetch: Fetch, priority: Priority, *, weight: float = 1.0, parallel: int = 4) -> int:
        """Takes a load on; returns the number by which the other methods know it. Nothing is read yet."""
        with self._condition:
            number = self._arbiter.add((), priority, weight, parallel)
            self._fetches[number] = fetch
            self._parallel[number] = (priority, parallel)
        return number

    def release(self, number: int, units: Sequence[int], read_bytes: int = READ_BYTES) -> None:
        """These units may be read now, in this order, after those released before."""
        with self._condition:
            fetch = self._fetches.get(number)
            if fetch is not None:
                self._arbiter.extend(number, fetch.ranges(units, read_bytes))
                self._staff(self._parallel[number][0])
                self._condition.notify_all()

    def stall(self, number: int, unit: int) -> None:
        """A computation waits for the unit: it is read next."""
        with self._condition:
            self._arbiter.stall(number, unit)

    def go_on(self, number: int, unit: int) -> None:
        """The unit is there."""
        with self._condition:
            self._arbiter.go_on(number, unit)
            self._condition.notify()

    def forget(self, number: int) -> None:
        """The load is over, and was so without a read."""
        with self._condition:
            self._drop(number)

    def promote(self, number: int, priority: Priority) -> None:
        """The load counts as one of another class from its next read on."""
        with self._condition:
            self._arbiter.promote(number, priority)
            if number in self._parallel:
                self._parallel[number] = (priority, self._parallel[number][1])
                self._staff(self._parallel[number][0])
            self._condition.notify_all()

    def stop(self, number: int, error: BaseException) -> None:
        """Gives a load up; who waits for it gets `error`. Reads under way end by themselves."""
        with self._condition:
            fetch = self._drop(number)
        if fetch is not None:
            fetch.fail(error)

    @property
    def threads(self) -> int:
        """How many run now."""
        with self._condition:
            return sum(self._running.values())

    def _drop(self, number: int) -> Fetch | None:
        """Lets go of a load, and of the threads that only it needed; holds the lock."""
        self._arbiter.remove(number)
        self._parallel.pop(number, None)
        self._condition.notify_all()
        return self._fetches.pop(number, None)

    def _staff(self, priority: Priority) -> None:
        """Sees that enough threads serve this class, as far as there can be more; holds the lock. Raises
        RuntimeError when there can be none."""
        background = priority == Priority.BACKGROUND
        wanted = sum(
            most for kind, most in self._parallel.values() if (kind == Priority.BACKGROUND) == background
        )
        for _ in range(min(self._limits[background], wanted) - self._running[background]):
            name = f"fetch-{next(self._numbers)}"
            thread = threading.Thread(target=self._work, args=(background,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                if not self._running[background]:
                    raise
                return
            self._running[background] += 1

    def _work(self, background: bool) -> None:
        classes = (
            (Priority.BACKGROUND, Priority.BACKGROUND)
            if background
            else (Priority.BATCH, Priority.INTERACTIVE)
        )
        if background:
            # Only this thread: on Linux each has a niceness of its own.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BACKGROUND_NICE)
        while (job := self._next(background, *classes)) is not None:
            fetch = self._fetches.get(job.load)
            if fetch is not None:
                fetch.read(job.range)
            self._finish(job, fetch)

    def _next(self, background: bool, lowest: Priority, highest: Priority) -> Job | None:
        """Waits for something to read; None when this thread is not needed any more."""
        with self._condition:
            while True:
                job = self._arbiter.next(lowest, highest)
                if job is not None:
                    return job
                if not self._arbiter.serves(lowest, highest):
                    self._running[background] -= 1
                    return None
                self._condition.wait()

    def _finish(self, job: Job, fetch: Fetch | None) -> None:
        with self._condition:
            self._arbiter.done(job)
            if fetch is not None and fetch.over.is_set():
                self._drop(job.load)
            # Whoever had to yield to this load, or waited in vain, looks again.
            self._condition.notify_all()


FETCHERS = Fetchers()
"""Those that `loader.load` uses."""
