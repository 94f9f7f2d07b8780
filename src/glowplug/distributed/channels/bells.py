"""What wakes a receiver: a pipe with a name, through which keys go.

Each end hangs a bell of its own, and takes the place of the one before: a worker that was given up and
still runs cannot swallow what rings for its successor.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from glowplug.distributed.channels.base import MessageKey

_RECORD = struct.Struct("<IIII")
_RECORDS_AT_ONCE = select.PIPE_BUF // _RECORD.size
"""So many are written whole or not at all."""
_READ_BYTES = 2**16
"""A whole pipe, and whole records."""


class Bell:
    """The receiver's side. Raises FileNotFoundError where the folder is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        new = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        os.mkfifo(new, 0o600)
        # Opened to write as well, so that it never ends when the last sender leaves.
        self._descriptor = os.open(new, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._inode = os.fstat(self._descriptor).st_ino
        new.rename(path)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def wait(self, run: str, target: int, timeout_s: float) -> list[MessageKey]:
        """The keys that were rung for; none after `timeout_s`."""
        if not self._poll.poll(timeout_s * 1000):
            return []
        try:
            came = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return []
        return [
            MessageKey(run, epoch, layer, source, target, chunk)
            for epoch, layer, source, chunk in _RECORD.iter_unpack(came)
        ]

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        os.close(descriptor)


class Ringer:
    """A sender's side of one receiver's bell."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._inode = 0

    def ring(self, keys: Sequence[MessageKey], until_s: float) -> bool:
        """False when nobody emptied a full bell until `until_s` (monotonic). Where nobody listens, nothing is
        rung: who comes to listen looks into the mailbox first."""
        for first in range(0, len(keys), _RECORDS_AT_ONCE):
            records = b"".join(
                _RECORD.pack(key.epoch, key.layer, key.source, key.chunk)
                for key in keys[first : first + _RECORDS_AT_ONCE]
            )
            while self._reach() and not self._write(records):
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._wait_for_room(left_s)
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _reach(self) -> bool:
        """Whether the bell that hangs now is open here."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            self.close()
            return False
        if self._descriptor >= 0 and inode == self._inode:
            return True
        self.close()
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        self._inode = os.fstat(self._descriptor).st_ino
        return True

    def _write(self, records: bytes) -> bool:
        try:
            os.write(self._descriptor, records)
        except BlockingIOError:
            return False
        except BrokenPipeError:
            self.close()
        return True

    def _wait_for_room(self, left_s: float) -> None:
        # In turns, because a bell that was replaced never gets room.
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll(min(left_s, 0.1) * 1000)
