"""Lines to a file from an event loop that never waits for a disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import structlog

from glowplug.core.errors import Unavailable

log = structlog.get_logger("glowplug.lines")
T = TypeVar("T")
_FLUSH_S = 0.2
_LINES_AT_ONCE = 1000
_CLOSE_S = 2.0


class LineWriter(Generic[T]):
    """Entries become lines in a thread of its own; `encode` runs there and returns a line without its end.

    At most `kept` entries wait. What the disk does not take, or does not take in time, is lost and counted;
    `lost_line` makes the line that says so, written when lines can be written again. `put` and `reopen` are
    called in one event loop. `target` is a path, appended to, or `-` for standard output.
    Raises Unavailable when it cannot be opened.
    """

    def __init__(
        self, target: str, encode: Callable[[T], bytes], lost_line: Callable[[int], bytes], kept: int = 20_000
    ) -> None:
        self._target = target
        self._encode = encode
        self._lost_line = lost_line
        self._kept = kept
        self._entries: deque[T] = deque()
        self._refused = self._unwritten = self._told = 0
        """Counters of one writer each: the event loop's, and two of the thread's."""
        self._due = self._reopening = self._closing = False
        self._wake = threading.Event()
        try:
            self._file = _open(target)
        except OSError as error:
            raise Unavailable(f"the access log {target} cannot be opened: {error.strerror}") from error
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Lines lost since one was last written."""
        return self._refused + self._unwritten - self._told

    def put(self, entry: T) -> None:
        """Written within a fraction of a second, unless the disk is too slow."""
        if len(self._entries) >= self._kept:
            self._refused += 1
            return
        self._entries.append(entry)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._due = False
        self._wake.set()

    def reopen(self) -> None:
        """Goes on in a new file of the same name: the old one was renamed."""
        self._reopening = True
        self._wake.set()

    def close(self) -> None:
        """Writes what waits, unless that takes too long. The event loop may wait meanwhile."""
        self._closing = True
        self._wake.set()
        self._thread.join(_CLOSE_S)

    # in the thread

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing  # first: what was put before it is among the entries
            if self._reopening:
                self._reopening = False
                self._open_again()
            while self._entries:
                self._write([self._entries.popleft() for _ in range(min(_LINES_AT_ONCE, len(self._entries)))])
        os.close(self._file)

    def _write(self, entries: list[T]) -> None:
        lost = self.lost
        try:
            lines = [self._lost_line(lost)] if lost else []
            lines += [self._encode(entry) for entry in entries]
            _append(self._file, b"\n".join(lines) + b"\n")
        except Exception as error:  # whatever it is, the thread must go on
            self._unwritten += len(entries)
            if not self._failed:
                log.warning(
                    "the log cannot be written, its lines are lost", target=self._target, why=str(error)
                )
            self._failed = True
            return
        self._told += lost
        if self._failed:
            self._failed = False
            log.warning("the log can be written again", target=self._target, lost_lines=lost)

    def _open_again(self) -> None:
        try:
            fresh = _open(self._target)
        except OSError as error:
            log.warning("the log cannot be opened again; the old file is kept", why=str(error))
            return
        os.close(self._file)
        self._file = fresh


def _open(target: str) -> int:
    if target == "-":
        return os.dup(1)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    # Opened without waiting: a named pipe that nobody reads is an error at once.
    found = os.open(target, flags | os.O_NONBLOCK, 0o640)
    os.set_blocking(found, True)
    with contextlib.suppress(OSError):
        if _is_torn(target, found):
            os.write(found, b"\n")
    return found


def _is_torn(target: str, file: int) -> bool:
    """Whether whoever wrote there before was killed in the middle of a line."""
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode) or not facts.st_size:
        return False
    with open(target, "rb") as reader:
        reader.seek(-1, os.SEEK_END)
        return reader.read() != b"\n"


def _append(file: int, data: bytes) -> None:
    """Lines, all of them or, in a regular file, none. Several processes may append to one file: in a pipe,
    too, their lines stay whole. Raises OSError."""
    is_regular = stat.S_ISREG(os.fstat(file).st_mode)
    written = 0
    try:
        for end in (len(data),) if is_regular else _ends(data):
            while written < end:
                written += os.write(file, memoryview(data)[written:end])
    except OSError:
        with contextlib.suppress(OSError):
            if written and is_regular:
                os.ftruncate(file, os.fstat(file).st_size - written)
        raise


def _ends(lines: bytes) -> Iterator[int]:
    """Where to cut them into parts that the kernel keeps together, if no single line is longer."""
    end = 0
    while end < len(lines):
        start = end
        end = lines.rfind(b"\n", start, start + select.PIPE_BUF) + 1
        end = end or lines.find(b"\n", start) + 1 or len(lines)
        yield end
