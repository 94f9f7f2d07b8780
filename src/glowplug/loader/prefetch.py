"""Bringing a file's weights into the page cache, in the order in which they will be used."""

from __future__ import annotations

import threading

from glowplug.loader.pagecache import looks_cached
from glowplug.loader.sources import WeightSource

CHUNK_BYTES = 4 * 2**20


class Prefetch:
    """Background threads that read a range from its start to its end. Always `join` before a fork.

    What was read is dropped at once: only the page cache keeps it.
    """

    def __init__(self, source: WeightSource, offset: int, nbytes: int, threads: int) -> None:
        self._source = source
        self._next = offset
        self._end = offset + nbytes
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
        buffer = bytearray(min(CHUNK_BYTES, max(self._end - self._next, 1)))
        try:
            while not self._stopped.is_set():
                with self._lock:
                    offset = self._next
                    self._next += CHUNK_BYTES
                if offset >= self._end:
                    return
                self._source.read_into(buffer, offset, min(CHUNK_BYTES, self._end - offset))
        except Exception as error:
            self._error = error
            self._stopped.set()


def start_prefetch(fd: int, source: WeightSource, offset: int, nbytes: int, threads: int) -> Prefetch:
    """Starts to read, or, when the range already looks cached, returns a prefetch that has nothing to do."""
    needed = nbytes and not looks_cached(fd, offset, nbytes)
    return Prefetch(source, offset, nbytes, threads if needed else 0)
