"""Weights that are fetched into a file: whoever maps it finds each unit there once it is told of."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.loader.arbiter import Priority
from glowplug.loader.contents import Contents, read_contents
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.fetching import Fetch
from glowplug.loader.file_sink import FileSink
from glowplug.loader.format import BLOCK_BYTES
from glowplug.loader.sources.file import open_file

pytestmark = pytest.mark.torch


class Fetched:
    """What a fetch of a pack into a file told of, when it has ended."""

    def __init__(self, pack: Path, sink: FileSink, contents: Contents, read_bytes: int) -> None:
        self.there: dict[int, bytes] = {}
        self.errors: list[BaseException] = []
        self._sink, self._contents = sink, contents
        ended, fetchers, source = threading.Event(), Fetchers(), open_file(pack)
        fetch = Fetch(source, contents, sink, self._arrived, self.errors.append, ended.set)
        number = fetchers.start(fetch, Priority.INTERACTIVE, parallel=2)
        fetchers.release(number, fetch.units, read_bytes)
        assert ended.wait(30)
        source.close()

    def _arrived(self, unit: int) -> None:
        place = self._contents.header.units[unit]
        at = self._contents.weights_offset + place.offset
        self.there[unit] = os.pread(self._sink.descriptor, place.nbytes, at)


def opened(pack: Path, path: Path, flags: int) -> tuple[FileSink, Contents]:
    source = open_file(pack)
    contents = read_contents(source)
    sink = FileSink(os.open(path, flags | os.O_CREAT, 0o644), contents.weights_offset)
    if flags & os.O_RDWR:
        sink.copy(source, 0, contents.weights_offset)
        sink.copy(source, contents.weights_offset + contents.header.weights_nbytes, source.size)
    source.close()
    return sink, contents


@pytest.mark.parametrize("read_bytes", [BLOCK_BYTES, FileSink.read_bytes])
def test_a_unit_is_in_the_file_when_it_is_told_of(wide: Any, tmp_path: Path, read_bytes: int) -> None:
    pack = wide[0]
    sink, contents = opened(pack, tmp_path / "copy", os.O_RDWR)
    found = Fetched(pack, sink, contents, read_bytes)
    whole = pack.read_bytes()
    assert found.errors == []
    assert found.there == {
        number: whole[contents.weights_offset + unit.offset :][: unit.nbytes]
        for number, unit in enumerate(contents.header.units)
        if unit.nbytes
    }
    assert (tmp_path / "copy").read_bytes() == whole
    sink.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(sink.descriptor)


def test_a_file_that_cannot_be_written_fails_the_fetch(wide: Any, tmp_path: Path) -> None:
    sink, contents = opened(wide[0], tmp_path / "copy", os.O_RDONLY)
    found = Fetched(wide[0], sink, contents, BLOCK_BYTES)
    (error,) = found.errors
    assert isinstance(error, OSError)
    assert error.errno == errno.EBADF
    assert found.there == {}
