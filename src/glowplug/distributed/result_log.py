"""Results one after another in a file, of which the whole ones can be read whenever its writer was killed.

Each has a head of 16 bytes, little endian: length 8, and a hash 8 of what follows.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import xxhash

from glowplug.distributed.channels.base import Buffer
from glowplug.distributed.errors import FrameCorrupt

_HEAD = struct.Struct("<QQ")
HEAD_BYTES = _HEAD.size


class ResultLog:
    """One writer's. What is there of an earlier one stays, and what that left unfinished is cut off."""

    def __init__(self, path: Path) -> None:
        self.count, nbytes = _extent(path)
        self._file = path.open("ab")
        self._file.truncate(nbytes)

    def add(self, body: bytes) -> None:
        """It is there when this returns, should the process be killed."""
        self._file.write(_HEAD.pack(len(body), xxhash.xxh3_64_intdigest(body)) + body)
        self._file.flush()
        self.count += 1

    def close(self) -> None:
        self._file.close()


def counted(path: Path) -> int:
    """How many whole results a log has that nobody writes."""
    return _extent(path)[0]


def _extent(path: Path) -> tuple[int, int]:
    """How many whole results there are, and their bytes. From head to head: whoever was killed left the last
    one too short, and of others nothing is read."""
    count, at = 0, 0
    if path.exists():
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while at + HEAD_BYTES <= size:
                nbytes, _ = _HEAD.unpack(os.pread(file.fileno(), HEAD_BYTES, at))
                if at + HEAD_BYTES + nbytes > size:
                    break
                count, at = count + 1, at + HEAD_BYTES + nbytes
    return count, at


def whole(content: Buffer) -> Iterator[memoryview]:
    """The results, up to the first that is not whole."""
    view, at = memoryview(content).cast("B"), 0
    while at + HEAD_BYTES <= len(view):
        nbytes, check = _HEAD.unpack_from(view, at)
        body = view[at + HEAD_BYTES : at + HEAD_BYTES + nbytes]
        if len(body) < nbytes or xxhash.xxh3_64_intdigest(body) != check:
            return
        yield body
        at += HEAD_BYTES + nbytes


def checked(content: Buffer, many: int, whose: str) -> Buffer:
    """`content`, if it is a log of exactly so many whole results. Raises FrameCorrupt."""
    sizes = [HEAD_BYTES + len(body) for body in whole(content)]
    if len(sizes) != many or sum(sizes) != memoryview(content).nbytes:
        raise FrameCorrupt(f"{whose}: {len(sizes)} whole results came, and {many} are expected")
    return content
