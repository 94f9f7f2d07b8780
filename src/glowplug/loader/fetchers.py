"""I/O threads: one `Fetchers` serves all loads of a process; its arbiter says what each thread reads next.

Each class has threads of its own. Reading costs processor time too, for copies and checks, and a first pass
of a higher class may compute on the same cores long after its own last weight came. They stand back for the
disk as well (io_priority.py).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence

from glowplug.loader import background
from glowplug.loader.arbiter import PARALLEL, Arbiter, Job, Priority
from glowplug.loader.fetching import Fetch
from glowplug.loader.forks import renew_in_children
from glowplug.loader.io_priority import Standing
from glowplug.loader.sinks import READ_BYTES

_NICER = {Priority.INTERACTIVE: 0, Priority.BATCH: 8, Priority.BACKGROUND: 15}
"""Than their process: a seventh, and a thirtieth, of a core that it wants for what it computes."""
_HIGHEST_NICENESS = 19
_THREADS = 8


class Fetchers:
    """I/O threads for all loads of a process, at most `threads` a class (None: 8, or as many as one of its
    loads wants); and as many more, one by one, while a load would have none, for those may all wait for
    another load's store. They start when there is work and end when there is none.

    A forked child begins without loads: it has none of the threads, and what they read comes to the parent.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._begin(Arbiter())
        renew_in_children(self)

    def renew(self) -> None:
        # Who has a load of the parent may still ask for it by its number, which must be no other's here.
        self._begin(Arbiter(self._arbiter.made))

    def _begin(self, arbiter: Arbiter) -> None:
        self._arbiter = arbiter
        self._condition = threading.Condition()
        self._fetches: dict[int, Fetch] = {}
        self._parallel: dict[int, tuple[Priority, int]] = {}
        self._since_s: dict[int, float] = {}
        self._reads: dict[int, list[Standing]] = {}
        """By load: those that are under way."""
        self._running = dict.fromkeys(Priority, 0)
        self._free = dict.fromkeys(Priority, 0)
        """Of those that run: how many read nothing, and will look for something."""
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def expecting(self, priority: Priority) -> Iterator[None]:
        """Meanwhile a load of this class asks its source what it has, past these threads: those below leave
        it the line."""
        with self._condition:
            arbiter = self._arbiter
            arbiter.expect(priority)
        try:
            yield
        finally:
            with self._condition:
                arbiter.came(priority)
                self._condition.notify_all()

    def start(self, fetch: Fetch, priority: Priority, *, weight: float = 1.0, parallel: int = 4) -> int:
        """Takes a load on; returns the number by which the other methods know it. Nothing is read yet."""
        with self._condition:
            number = self._arbiter.add((), priority, weight, parallel)
            self._fetches[number] = fetch
            self._parallel[number] = (priority, parallel)
            self._since_s[number] = time.monotonic()
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
        """A computation waits for the unit: it is read next. One that is only to be put in its place needs no
        read."""
        with self._condition:
            fetch = self._fetches.get(number)
            if fetch is not None and not fetch.has(unit):
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
        """The load counts as one of another class from its next read on, and what is left of those under way
        is asked of a disk as that one's. Raises RuntimeError when there can be no thread for it; then it
        stays what it was."""
        with self._condition:
            if number not in self._parallel:
                return
            before = self._parallel[number]
            self._parallel[number] = (priority, before[1])
            try:
                self._staff(priority)
            except RuntimeError:  # the class has no thread and can have none: it stays where it is read
                self._parallel[number] = before
                raise
            self._arbiter.promote(number, priority)
            for read in self._reads.get(number, ()):
                read.promote(priority)
            self._staff(priority)
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
        self._since_s.pop(number, None)
        self._condition.notify_all()
        return self._fetches.pop(number, None)

    def _staff(self, kind: Priority) -> None:
        """Sees that enough threads serve this class, as far as there can be more: starts one, which starts
        the next, so that whoever builds does not wait for all. Holds the lock. Raises RuntimeError when
        there can be none."""
        wanted = sum(most for priority, most in self._parallel.values() if priority == kind)
        if self._running[kind] >= min(self._limit(kind), wanted) and not self._lacks(kind):
            return
        name = f"fetch-{next(self._numbers)}"
        try:
            background.start(self._work, kind, name=name)
        except RuntimeError:
            if not self._running[kind]:
                raise
            return
        self._running[kind] += 1
        self._free[kind] += 1

    def _limit(self, kind: Priority) -> int:
        """How many threads serve this class as a rule."""
        wanted = (most for priority, most in self._parallel.values() if priority == kind)
        most = self._threads if self._threads is not None else max(_THREADS, *wanted, 0)
        return min(PARALLEL[kind], most)

    def _lacks(self, kind: Priority) -> bool:
        """Whether a load of the class waits, and every thread reads for others."""
        full = self._running[kind] >= 2 * self._limit(kind)
        return not full and not self._free[kind] and self._arbiter.starves(kind)

    def _work(self, kind: Priority) -> None:
        _stand_back(kind)
        with self._condition:
            self._staff(kind)
        while (found := self._next(kind)) is not None:
            job, standing = found
            fetch = self._fetches.get(job.load)
            if fetch is not None:
                with standing:
                    fetch.read(job.range)
            self._finish(kind, job, fetch, standing)

    def _next(self, kind: Priority) -> tuple[Job, Standing] | None:
        """Waits for something to read, and tells as whose; None when this thread is not needed any more."""
        with self._condition:
            while True:
                job = self._arbiter.next(kind, kind)
                if job is not None:
                    self._free[kind] -= 1
                    if self._lacks(kind):
                        self._staff(kind)
                    standing = Standing(kind, self._since_s.get(job.load))
                    self._reads.setdefault(job.load, []).append(standing)
                    return job, standing
                if not self._arbiter.serves(kind, kind) or self._running[kind] > self._limit(kind):
                    self._running[kind] -= 1
                    self._free[kind] -= 1
                    return None
                self._condition.wait()

    def _finish(self, kind: Priority, job: Job, fetch: Fetch | None, standing: Standing) -> None:
        with self._condition:
            self._arbiter.done(job)
            reads = self._reads[job.load]
            reads.remove(standing)
            if not reads:
                del self._reads[job.load]
            self._free[kind] += 1
            if fetch is not None and fetch.over.is_set():
                self._drop(job.load)
            # Whoever had to yield to this load, or waited in vain, looks again.
            self._condition.notify_all()


def niceness_of(kind: Priority) -> int:
    """What a class's threads have in this process, by what its main thread has."""
    return min(_HIGHEST_NICENESS, os.getpriority(os.PRIO_PROCESS, os.getpid()) + _NICER[kind])


def _stand_back(kind: Priority) -> None:
    """Only the calling thread: on Linux each has a niceness of its own."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness_of(kind))


FETCHERS = Fetchers()
"""Those that `loader.load` uses."""
