"""Activations that a worker can begin again with, in a folder or an object store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np

from glowplug.distributed.channels.base import MessageKey
from glowplug.distributed.channels.blobs import Blobs, Range
from glowplug.distributed.codec import decode_rows, encode_rows
from glowplug.distributed.errors import FrameError
from glowplug.distributed.frame import Kind, frames, open_frame
from glowplug.distributed.network import Floats

_ANY_SIZE = 2**40


def checkpoint_blobs(where: str) -> Blobs:
    """`where` is a folder, made if it is not there, or a URL of an object store that obstore has."""
    from glowplug.distributed.channels.stored_blobs import StoredBlobs

    if urlsplit(where).scheme:
        return StoredBlobs(where)
    Path(where).mkdir(parents=True, exist_ok=True)
    return StoredBlobs(f"file://{Path(where).resolve()}")


def remove_checkpoints(blobs: Blobs, run: str) -> None:
    blobs.clear(_folder(run))


class Checkpoint(msgspec.Struct, frozen=True, eq=False):
    """What a worker brings over a line: `held` (rows, samples), none between shares, and what it has of the
    result."""

    held: Floats
    results: bytes


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    held: bytes
    results: bytes


class Checkpoints:
    """Those of one worker; without `blobs` there are none. An epoch's are its own: who is lost in it goes
    on from what it reached in it, or else from where the epoch began, which an earlier one has written.
    `generation`: see `Orders`."""

    def __init__(self, blobs: Blobs | None, run: str, worker: int, epoch: int, generation: int = 0) -> None:
        self.written_bytes = 0
        self._blobs, self._run, self._worker, self._epoch = blobs, run, worker, epoch
        self._generation = generation

    def write(self, line: int, checkpoint: Checkpoint) -> None:
        assert self._blobs is not None
        held = encode_rows(np.arange(len(checkpoint.held)), checkpoint.held)
        body = msgspec.msgpack.encode(_Stored(held, checkpoint.results))
        ((_, message),) = frames(self._key(self._epoch, line), Kind.BYTES, body, _ANY_SIZE)
        self._blobs.put([(self._name(self._epoch, line), message)])
        self.written_bytes += len(message)

    def read(self, line: int, rows: int, samples: int) -> Checkpoint | None:
        """The newest of a line; None where none is whole."""
        for epoch in range(self._epoch, -1, -1):
            message = self._get(epoch, line)
            if message is None:
                continue
            try:
                stored = msgspec.msgpack.decode(
                    open_frame(self._key(epoch, line), message).body, type=_Stored
                )
                held = decode_rows(stored.held, samples=samples, neurons=rows, most_rows=rows).values
                return Checkpoint(held, stored.results)
            except (FrameError, msgspec.MsgspecError):
                continue
        return None

    def latest(self, lines: Sequence[int], *, of_all_epochs: bool = False) -> int | None:
        """The last of `lines` that was reached, in this epoch or in any."""
        epochs = range(self._epoch + 1) if of_all_epochs else (self._epoch,)
        reached = (
            line for line in reversed(lines) if any(self._get(epoch, line) is not None for epoch in epochs)
        )
        return next(reached, None)

    def _key(self, epoch: int, line: int) -> MessageKey:
        return MessageKey(self._run, self._generation + epoch, line, self._worker, self._worker)

    def _name(self, epoch: int, line: int) -> str:
        return f"{_folder(self._run)}/{self._worker}-{self._generation + epoch}-{line}"

    def _get(self, epoch: int, line: int) -> bytes | None:
        if self._blobs is None:
            return None
        return self._blobs.get([Range(self._name(epoch, line), 0, _ANY_SIZE)])[0]


def _folder(run: str) -> str:
    return f"checkpoints-{run}"
