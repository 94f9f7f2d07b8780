"""Files: what lies on another machine, reads past the page cache, ends that come early."""

from __future__ import annotations

import ctypes
import io
import mmap
import os
from contextlib import closing
from pathlib import Path

import pytest

from glowplug import loader
from glowplug.loader.errors import PackTruncated
from glowplug.loader.sources import FileSource, direct, open_source
from glowplug.loader.sources.direct import ALIGN_BYTES, DirectFileSource
from glowplug.loader.sources.filesystem import NETWORK_MAGICS, filesystem_magic, is_network_filesystem
from glowplug.testing.source_suite import CONTENT, read

PROC_MAGIC = 0x9FA0


def test_the_kernel_names_file_systems() -> None:
    with Path("/proc/self/status").open("rb") as file:
        assert filesystem_magic(file.fileno()) == PROC_MAGIC
        assert not is_network_filesystem(file.fileno())


def test_magic_numbers_fit_the_field() -> None:
    assert all(0 < magic < 2**32 for magic in NETWORK_MAGICS)
    assert {0x6969, 0xFF534D42, 0x65735546} <= NETWORK_MAGICS


def test_where_the_kernel_says_nothing_files_are_streamed() -> None:
    assert filesystem_magic(-1) is None
    assert is_network_filesystem(-1)


def test_a_local_file_may_be_mapped_and_one_elsewhere_may_not(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_source(file)) as source:
        magic = filesystem_magic(source.fileno())  # type: ignore[attr-defined]
        assert source.advice.mappable
    monkeypatch.setattr("glowplug.loader.sources.filesystem.NETWORK_MAGICS", {magic})
    with closing(open_source(file)) as source:
        assert not source.advice.mappable


def test_a_file_read_directly_is_not_mapped(file: Path) -> None:
    with closing(open_source(file, direct=True)) as source:
        assert not source.advice.mappable


def test_a_descriptor_of_another_stays_open(file: Path) -> None:
    with io.FileIO(str(file)) as owner:
        FileSource(owner.fileno(), "f").close()
        assert os.fstat(owner.fileno()).st_size == len(CONTENT)


def test_a_file_that_shrinks_says_where_it_ends(file: Path) -> None:
    for wanted in (False, True):
        file.write_bytes(CONTENT)
        with closing(open_source(file, direct=wanted)) as source:
            os.truncate(file, 5000)
            with pytest.raises(PackTruncated, match=r"net\.pack ends at 5000; 295001 more bytes"):
                read(source, 0, len(CONTENT))
            with pytest.raises(PackTruncated, match="ends at 5000"):
                read(source, 100_000, 10)


def test_direct_reads_leave_the_page_cache_empty(file: Path) -> None:
    with closing(DirectFileSource(file)) as source:
        loader.evict_page_cache(file)
        if not source.direct or loader.page_cache_bytes(file):
            pytest.skip("this file system reads everything through the page cache")
        assert read(source, 1, len(CONTENT) - 1) == CONTENT[1:]
        assert loader.page_cache_bytes(file) == 0


def test_buffers_that_lie_as_the_file_does_need_no_second_one(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(DirectFileSource(file)) as source, mmap.mmap(-1, 2**19) as memory:
        view = memoryview(memory)
        lengths: list[int] = []
        bounced = source._bounced

        def counted(part: memoryview, start: int, skip: int) -> int:
            lengths.append(part.nbytes)
            return bounced(part, start, skip)

        monkeypatch.setattr(source, "_bounced", counted)
        source.read_into(view[100:200_100], 100, 200_000)
        assert view[100:200_100] == CONTENT[100:200_100]
        view.release()
        assert lengths == [ALIGN_BYTES - 100, 200_100 % ALIGN_BYTES]


@pytest.mark.parametrize("shift", [0, 1, 511, 4095])
def test_direct_reads_into_any_address(file: Path, shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_BOUNCE_BYTES", 2 * ALIGN_BYTES)
    memory = bytearray(2**19)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % ALIGN_BYTES + shift
    with closing(DirectFileSource(file)) as source:
        for offset, length in [(0, 4096), (0, 4097), (3, 20_000), (4096, 100_000), (299_000, 1001)]:
            source.read_into(memoryview(memory)[start:], offset, length)
            assert memory[start : start + length] == CONTENT[offset : offset + length]


def test_a_file_system_without_direct_reads_is_read_all_the_same() -> None:
    with closing(DirectFileSource(Path("/proc/version"))) as source:
        assert not source.direct
        assert read(source, 0, 5) == b"Linux"


def test_reads_that_the_kernel_refuses_go_through_the_page_cache(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "ALIGN_BYTES", 1)
    with closing(DirectFileSource(file)) as source:
        assert read(source, 3, 1000) == CONTENT[3:1003]
        if source.direct:
            pytest.skip("this file system takes direct reads of any alignment")
        assert read(source, 0, len(CONTENT)) == CONTENT
