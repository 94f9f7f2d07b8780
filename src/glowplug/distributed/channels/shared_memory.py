"""Between processes of one machine, in a folder of shared memory.

A message is a file in its receiver's mailbox, renamed into place when it is whole, so that a process may be
killed anywhere. What wakes the receiver is a pipe with a name (`bells.py`). Files stay until their receiver
fences them off: a worker that takes over finds them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from glowplug.core.errors import NoSpace
from glowplug.distributed.channels.base import Buffer, KeyChecks, Limits, MessageKey, Room
from glowplug.distributed.channels.bells import Bell, Ringer
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.owners import claim_folder, remove_folder
from glowplug.distributed.errors import ChannelClosed, ChannelMissing, ChannelUnavailable

LIMITS = Limits(
    max_message_bytes=2**30,
    max_batch_messages=2**20,
    max_batch_bytes=2**40,
    ordered=False,
    duplicates=True,
    durable=False,
    replays=True,
    looks_are_calls=False,
    slow_s=0.01,
)
FOLDER = "/dev/shm"
SEND_TIMEOUT_S = 30.0
_BELL = "bell"


class SharedMemoryRoom(Room):
    """A folder `glowplug-RUN` below `folder`, which should lie in memory. A run whose process died without
    closing it is replaced. Nothing bounds the bytes of a run but that file system and the fences."""

    channel = "shared_memory"

    def __init__(self, folder: str = FOLDER, send_timeout_s: float = SEND_TIMEOUT_S) -> None:
        super().__init__()
        self._base = Path(folder)
        self._send_timeout_s = send_timeout_s

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self._base,)

    @property
    def path(self) -> Path:
        return self._base / f"glowplug-{self.run}"

    def _create(self) -> None:
        if not self._base.is_dir():
            raise ChannelMissing(f"{self._base} is not a folder: give one in memory, or any on a disk")
        claim_folder(self.path, self.run, [str(worker) for worker in range(self.workers)])

    def _end(self, worker: int) -> SharedMemoryChannel:
        if not (self.path / str(worker)).is_dir():
            raise ChannelMissing(f"run {self.run!r} is not open in {self._base}, or has no worker {worker}")
        return SharedMemoryChannel(self.path, self.run, self.workers, worker, self._send_timeout_s)

    def _destroy(self) -> None:
        # The name goes first, so that nobody adds to a folder that is being emptied.
        going = self.path.with_name(f".{self.path.name}.{os.getpid()}.gone")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(going)
        remove_folder(going)

    def _options(self) -> dict[str, Any]:
        return {"folder": str(self._base), "send_timeout_s": self._send_timeout_s}


class SharedMemoryChannel:
    limits = LIMITS

    def __init__(self, path: Path, run: str, workers: int, worker: int, send_timeout_s: float) -> None:
        self.worker = worker
        self.meter = Meter()
        self._checks = KeyChecks(run, workers, worker, LIMITS)
        self._path = path
        self._mailbox = path / str(worker)
        self._send_timeout_s = send_timeout_s
        self._fence = (0, 0)
        self._given: set[MessageKey] = set()
        self._there: set[MessageKey] = set()
        self._ringers: dict[int, Ringer] = {}
        # The bell hangs before the mailbox is read: what comes in between is seen twice, never missed.
        self._bell = Bell(self._mailbox / _BELL)
        self._look()

    def send(self, messages: Sequence[tuple[MessageKey, Buffer]]) -> None:
        self._checks.sending(messages)
        targets: dict[int, list[MessageKey]] = {}
        for key, payload in messages:
            self.meter.sent(self._write(key, payload))
            targets.setdefault(key.target, []).append(key)
        until_s = time.monotonic() + self._send_timeout_s
        for target, keys in targets.items():
            ringer = self._ringers.get(target)
            if ringer is None:
                ringer = self._ringers[target] = Ringer(self._path / str(target) / _BELL)
            if not ringer.ring(keys, until_s):
                raise ChannelUnavailable(
                    f"worker {target} did not look at its messages for {self._send_timeout_s} s"
                )

    def flush(self) -> None:
        """It is."""

    def receive(self, wanted: Collection[MessageKey], timeout_s: float) -> dict[MessageKey, bytes]:
        self._checks.receiving(wanted)
        until_s = time.monotonic() + timeout_s
        while True:
            found = self._read(wanted)
            left_s = until_s - time.monotonic()
            if found or not wanted:
                return found
            rung = self._bell.wait(self._checks.run, self.worker, max(0.0, left_s))
            self._heard(rung)
            if not rung and left_s <= 0:
                if not self._mailbox.is_dir():
                    raise ChannelClosed(f"run {self._checks.run!r} is over")
                return {}

    def expect(self, first: int, end: int) -> None:
        """It is."""

    def left_out(self, wanted: Collection[MessageKey]) -> set[MessageKey]:
        return set()

    def reject(self, keys: Collection[MessageKey]) -> None:
        self._there.difference_update(keys)
        self._given.difference_update(keys)
        self._unlink(keys)

    def fence(self, epoch: int, layer: int) -> None:
        self._fence = max(self._fence, (epoch, layer))
        late = [key for key in self._there | self._given if self._is_late(key)]
        self._there.difference_update(late)
        self._given.difference_update(late)
        self._unlink(late)

    def close(self) -> None:
        self._checks.closed = True
        self._bell.close()
        while self._ringers:
            self._ringers.popitem()[1].close()

    def _is_late(self, key: MessageKey) -> bool:
        return (key.epoch, key.layer) < self._fence

    def _heard(self, rung: list[MessageKey]) -> None:
        self._there.update(key for key in rung if not self._is_late(key) and key not in self._given)
        self._unlink([key for key in rung if self._is_late(key)])

    def _unlink(self, keys: Collection[MessageKey]) -> None:
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                (self._mailbox / _name(key)).unlink()

    def _look(self) -> None:
        for path in self._mailbox.iterdir():
            key = _key(path.name, self._checks.run, self.worker)
            if key is not None:
                self._there.add(key)

    def _write(self, key: MessageKey, payload: Buffer) -> int:
        folder = self._path / str(key.target)
        final = folder / _name(key)
        partial = folder / f".{_name(key)}.{os.getpid()}"
        view = memoryview(payload).cast("B")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                left = view
                while left:
                    left = left[os.write(descriptor, left) :]
            finally:
                os.close(descriptor)
            partial.rename(final)
        except FileNotFoundError:
            raise ChannelClosed(f"run {key.run!r} is over") from None
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(
                    f"{key}: no room for {len(view)} bytes in {self._path}: fence off what is done, or give "
                    "a larger folder"
                ) from error
            raise ChannelUnavailable(f"{key}: {error}") from error
        return len(view)

    def _read(self, wanted: Collection[MessageKey]) -> dict[MessageKey, bytes]:
        found: dict[MessageKey, bytes] = {}
        for key in wanted:
            if key not in self._there:
                continue
            self._there.discard(key)
            # Rung for, and taken away since: its file was fenced off by the end before this one.
            with contextlib.suppress(FileNotFoundError):
                found[key] = (self._mailbox / _name(key)).read_bytes()
                self._given.add(key)
                self.meter.received(len(found[key]))
        return found


def _name(key: MessageKey) -> str:
    return f"{key.epoch}-{key.layer}-{key.source}-{key.chunk}"


def _key(name: str, run: str, target: int) -> MessageKey | None:
    """None for what is no message: the bell, a file that is not whole."""
    parts = name.split("-")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        return None
    epoch, layer, source, chunk = map(int, parts)
    return MessageKey(run, epoch, layer, source, target, chunk)
