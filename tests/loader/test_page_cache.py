"""Weights and the page cache: shared, counted, read ahead, given back."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from glowplug import loader
from glowplug.loader import pagecache
from glowplug.loader.errors import PackTruncated
from glowplug.loader.prefetch import CHUNK_BYTES, Prefetch
from glowplug.loader.sources import FileSource

NBYTES = 8 * 2**20
_TRIES = 5


@pytest.fixture
def pack(tmp_path: Path) -> Any:
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    loader.write_pack(tmp_path / "a.pack", torch.arange(NBYTES // 8))
    with loader.open_pack(tmp_path / "a.pack") as opened:
        yield opened


def private_bytes(of: str) -> int:
    """Private_Dirty of this process's mappings of the file `of`."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(of)
        elif inside and line.startswith("Private_Dirty:"):
            found += int(line.split()[1]) * 1024
    return found


def mapping_flags(of: str) -> list[list[str]]:
    """What this process asked of each of its mappings of the file `of`."""
    found, inside = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(of)
        elif inside and line.startswith("VmFlags:"):
            found.append(line.split()[1:])
    return found


def test_weights_are_not_read_in_huge_pages(pack: Any, tmp_path: Path) -> None:
    """A virtual machine's host takes back what is free by these: to have one again takes milliseconds."""
    kept = pack.load()
    flags = mapping_flags(str(tmp_path / "a.pack"))
    assert flags
    assert not any("hg" in each for each in flags)
    del kept


@pytest.mark.parametrize("told", [True, False])
def test_a_file_just_written_is_counted_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """Also where the kernel has no call that counts, and each page is asked for."""
    if not told:
        monkeypatch.setattr(pagecache, "_cached_pages", lambda fd: None)
    (tmp_path / "f").write_bytes(bytes(10_000))
    (tmp_path / "empty").touch()
    assert loader.page_cache_bytes(tmp_path / "f") == 10_000
    assert loader.page_cache_bytes(tmp_path / "empty") == 0


def test_what_is_clean_goes_without_a_flush_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    flush = os.fdatasync

    def counted(fd: int) -> None:
        flushed.append(fd)
        flush(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    file = tmp_path / "f"
    file.write_bytes(bytes(NBYTES))
    loader.evict_page_cache(file)
    if loader.page_cache_bytes(file):
        pytest.skip("this file system keeps its pages (tmpfs)")
    for _ in range(_TRIES):  # the kernel may be at work on a page of it
        flushed.clear()
        file.read_bytes()
        loader.evict_page_cache(file)
        assert loader.page_cache_bytes(file) == 0
        if not flushed:
            return
    pytest.fail("each time the disk was flushed, though nothing was dirty")


@pytest.mark.torch
def test_reading_loaded_weights_makes_no_private_copy(pack: Any) -> None:
    one, other = pack.load(), pack.load()
    assert one.sum() == other.sum()
    assert private_bytes("a.pack") == 0
    one[0] = 1
    assert 0 < private_bytes("a.pack") <= 16384


@pytest.mark.torch
def test_released_pages_come_back_and_written_ones_stay(pack: Any) -> None:
    tensor = pack.load()
    total = int(tensor.sum())
    tensor[1000] += 5
    assert pack.release_pages() >= NBYTES - 2 * 4096
    assert pack.release_pages() == 0
    pack.map_pages()
    assert pack.release_pages() >= NBYTES - 2 * 4096
    assert int(tensor.sum()) == total + 5


@pytest.mark.torch
def test_prefetching_what_is_cached_starts_no_thread(pack: Any) -> None:
    before = threading.active_count()
    prefetch = pack.prefetch()
    assert not prefetch.running
    assert threading.active_count() <= before
    prefetch.join()


@pytest.mark.torch
def test_an_evicted_pack_is_prefetched_whole(pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagecache, "_CACHED_READ_S", 0.0)  # some disks answer as fast as the cache
    loader.evict_page_cache(pack.info.path)
    if pack.resident_bytes() == NBYTES:
        pytest.skip("this file system keeps its pages (tmpfs)")
    pack.prefetch(threads=2).join()
    assert pack.resident_bytes() == NBYTES


def test_every_byte_is_fetched_once_in_order() -> None:
    fetched: list[tuple[int, int]] = []
    nbytes = 3 * CHUNK_BYTES + 5
    Prefetch(lambda offset, length: fetched.append((offset, length)), nbytes, 1).join()
    starts = range(0, nbytes, CHUNK_BYTES)
    assert fetched == [(at, min(CHUNK_BYTES, nbytes - at)) for at in starts]


def test_a_fetch_that_fails_is_raised_by_join_and_cancel_is_silent() -> None:
    def fail(offset: int, length: int) -> None:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        Prefetch(fail, 100, 2).join()
    Prefetch(fail, 100, 2).cancel()


def test_a_source_that_ends_early_says_where(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"short")
    with (tmp_path / "f").open("rb") as file, pytest.raises(PackTruncated, match="f ends at 5"):
        FileSource(file.fileno(), "f").read_into(bytearray(100), 0, 100)


@pytest.mark.torch
def test_nothing_stays_open(pack: Any) -> None:
    pack.load()
    pack.close()
    pack.close()
    links = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not any(link.endswith("a.pack") for link in links)
