"""A file, read through the page cache."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from urllib.parse import unquote

from glowplug.loader.errors import PackTruncated, WeightsUnreadable
from glowplug.loader.sources.base import Advice, WeightSource, target
from glowplug.loader.sources.filesystem import is_network_filesystem

_SCHEME = "file://"


class FileSource:
    """A file by its descriptor, which stays its owner's to close unless it is handed over as `owned`."""

    def __init__(self, fd: int, path: str, *, owned: io.FileIO | None = None) -> None:
        self.name = path
        self.size = os.fstat(fd).st_size
        self._fd = fd
        self._owned = owned
        self._advice: Advice | None = None

    @property
    def advice(self) -> Advice:
        # No cached_property: Python 3.11's holds a lock for all files, which a forked child may inherit held.
        if self._advice is None:
            self._advice = self._advise()
        return self._advice

    def _advise(self) -> Advice:
        # The kernel reads ahead by itself: a second read keeps a disk busy, more gain next to nothing.
        if is_network_filesystem(self._fd):
            return Advice(parallel=8, read_bytes=4 * 2**20, mappable=False)
        return Advice(parallel=2, read_bytes=16 * 2**20, mappable=True)

    def fileno(self) -> int:
        return self._fd

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        """Raises PackTruncated where the file ends before, OSError where it cannot be read."""
        view = target(buffer, length)
        if offset < 0:
            raise ValueError(f"{self.name} has no offset {offset}")
        done = 0
        while done < length:
            got = os.preadv(self._fd, [view[done:]], offset + done)
            if got == 0:
                raise truncated(self.name, self._fd, offset + length)
            done += got

    def read(self, offset: int, length: int) -> bytes:
        """Raises as `read_into` does."""
        buffer = bytearray(length)
        self.read_into(buffer, offset, length)
        return bytes(buffer)

    def close(self) -> None:
        if self._owned is not None:
            self._owned.close()


def truncated(path: str, fd: int, expected_end: int) -> PackTruncated:
    end = os.fstat(fd).st_size
    return PackTruncated(f"{path} ends at {end}; {expected_end - end} more bytes were expected")


def open_regular(path: str | os.PathLike[str]) -> io.FileIO:
    """Raises WeightsUnreadable for what is no file, as a pipe, whose reader would wait for ever; OSError."""
    name = os.fspath(path)
    file = io.FileIO(name, opener=lambda place, flags: os.open(place, flags | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise WeightsUnreadable(f"{name} is no regular file; copy what it gives into one")
    return file


def open_file(path: str | os.PathLike[str], *, direct: bool = False) -> WeightSource:
    """Opens a path or file:// URL. `direct` reads past the page cache where the file system can.

    Raises OSError, WeightsUnreadable for what is no regular file.
    """
    name = os.fspath(path)
    if name[: len(_SCHEME)].lower() == _SCHEME:
        name = unquote(name[len(_SCHEME) :].removeprefix("localhost"))
    if direct:
        from glowplug.loader.sources.direct import DirectFileSource

        return DirectFileSource(Path(name))
    file = open_regular(name)
    return FileSource(file.fileno(), name, owned=file)
