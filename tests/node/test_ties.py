"""What a fork would share with this process, each kind by itself."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glowplug.node.ties import Ties


def sockets(folder: Path) -> Any:
    return socket.socketpair()


def pipe(folder: Path) -> Any:
    return [os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True)]


def read_file(folder: Path) -> Any:
    return (folder / "notes.txt").open("rb")


def written_files(folder: Path) -> Any:
    return [(folder / f"{name}.txt").open("w") for name in "abcd"]


def removed_file(folder: Path) -> Any:
    file = (folder / "gone").open("w")
    (folder / "gone").unlink()
    return file


def event_queue(folder: Path) -> Any:
    import select

    return select.epoll()


def locks(folder: Path) -> Any:
    return [mmap.mmap(-1, mmap.PAGESIZE), mmap.mmap(-1, 3 * mmap.PAGESIZE)]


def child(folder: Path) -> Any:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=socket_end(folder))


def socket_end(folder: Path) -> int:
    """Of a pair that stays until the test is over: the child waits there."""
    ours, theirs = socket.socketpair()
    _kept.extend([ours, theirs])
    return theirs.fileno()


def file_and_mapping(folder: Path) -> Any:
    file = (folder / "notes.txt").open("rb")
    return file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def written_mapping(folder: Path) -> Any:
    with (folder / "notes.txt").open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


_kept: list[Any] = []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "notes.txt").write_text("two lines\nof text\n")
    gc.collect()  # so that nothing of other tests is closed meanwhile
    yield tmp_path
    for each in _kept:
        each.close()
    _kept.clear()


def released(what: Any) -> None:
    for each in what if isinstance(what, (list, tuple)) else [what]:
        if isinstance(each, subprocess.Popen):
            each.kill()
            each.wait()
        else:
            each.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (sockets, "2 sockets"),
        (pipe, "2 pipes"),
        (read_file, "an open file (notes.txt)"),
        (written_files, "4 open files (a.txt, b.txt, c.txt, ...)"),
        (removed_file, "an open file (gone)"),
        (event_queue, "an eventpoll descriptor"),
        (locks, "2 pieces of shared memory"),
        (child, "a child process and 2 sockets"),
        (file_and_mapping, "2 open files (notes.txt)"),
        (written_mapping, "an open file (notes.txt) and a piece of shared memory"),
    ],
)
def test_what_a_fork_would_share_is_said(folder: Path, make: Callable[[Path], Any], words: str) -> None:
    before = Ties.now()
    made = make(folder)
    try:
        assert before.new() == words
        assert Ties.now().new() == ""
    finally:
        released(made)
    for each in _kept:
        each.close()
    assert before.new() == ""


def test_what_is_only_mapped_to_be_read_is_nobodys(folder: Path) -> None:
    """Python keeps a duplicate of the descriptor: weights opened so may be shared by forks."""
    before = Ties.now()
    with (folder / "notes.txt").open("rb") as file:
        file.read(4)
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with contextlib.closing(mapping), Path(os.devnull).open("w"), Path("/dev/urandom").open("rb"):
        assert before.new() == ""


def test_ours_do_not_count(folder: Path) -> None:
    before = Ties.now()
    with (folder / "notes.txt").open("rb") as ours, (folder / "b").open("w"):
        assert before.new((ours.fileno(),)) == "an open file (b)"


def test_a_child_that_has_ended_is_none() -> None:
    before = Ties.now()
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert before.new() == ""


def test_a_descriptor_in_the_place_of_another_counts(folder: Path) -> None:
    with (folder / "notes.txt").open("rb") as first:
        before = Ties.now()
        one, other = socket.socketpair()
        with one, other:
            os.dup2(one.fileno(), first.fileno())
            assert before.new() == "3 sockets"
