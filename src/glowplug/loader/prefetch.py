"""Bringing a file's weights into the page cache, in the order in which they will be used."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

from glowplug.loader.memory import MADV_POPULATE_READ, Mapping
from glowplug.loader.pagecache import looks_cached
from glowplug.loader.sources import WeightSource

CHUNK_BYTES = 16 * 2**20

Fetch = Callable[[int, int], None]
"""Brings (offset, bytes) into the page cache; returns when they are there."""


class Prefetch:
    """Background threads that fetch `nbytes` from start to end. Always `join` or `cancel` before a fork."""

    def __init__(self, fetch: Fetch, nbytes: int, threads: int) -> None:
        self._fetch = fetch
        self._nbytes = nbytes
        self._next = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"prefetch-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        """Waits for the end. Raises OSError or PackTruncated when a read failed."""
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """Stops after the chunks in hand, and waits for that. Raises nothing."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                with self._lock:
                    offset = self._next
                    self._next += CHUNK_BYTES
                if offset >= self._nbytes:
                    return
                self._fetch(offset, min(CHUNK_BYTES, self._nbytes - offset))
        except Exception as error:
            self._error = error
            self._stopped.set()


def start_prefetch(fd: int, source: WeightSource, offset: int, nbytes: int, threads: int) -> Prefetch:
    """Fetches a range of the file behind `fd`, from a page's start; nothing when it looks cached already.

    The descriptor is used only during this call, `source` until the prefetch ends.
    """
    if not nbytes or looks_cached(fd, offset, nbytes):
        return Prefetch(lambda *_: None, 0, 0)
    return Prefetch(_populating(fd, offset, nbytes) or _reading(source, offset), nbytes, threads)


def _populating(fd: int, offset: int, nbytes: int) -> Fetch | None:
    """By the page tables: no byte is copied, which leaves the processor to those who compute meanwhile."""
    mapping = Mapping(fd, offset, nbytes, private=False)
    try:
        mapping.advise(MADV_POPULATE_READ, 0, 0)
    except OSError as error:
        if error.errno == errno.EINVAL:  # Linux before 5.14
            return None
        raise
    return lambda start, length: mapping.advise(MADV_POPULATE_READ, start, length)


def _reading(source: WeightSource, offset: int) -> Fetch:
    return lambda start, length: source.read_into(bytearray(length), offset + start, length)
