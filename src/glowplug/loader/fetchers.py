"""I/O threads: one `Fetchers` serves all loads of a process; its arbiter says what each thread reads next."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Sequence

from glowplug.loader.arbiter import Arbiter, Job, Priority
from glowplug.loader.fetching import Fetch
from glowplug.loader.sinks import READ_BYTES

_BACKGROUND_NICE = 15


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
        """Sees that enough threads serve this class; holds the lock."""
        background = priority == Priority.BACKGROUND
        wanted = sum(
            most for kind, most in self._parallel.values() if (kind == Priority.BACKGROUND) == background
        )
        for _ in range(min(self._limits[background], wanted) - self._running[background]):
            self._running[background] += 1
            name = f"fetch-{next(self._numbers)}"
            threading.Thread(target=self._work, args=(background,), name=name, daemon=True).start()

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
