"""What is held, counted in real processes that fork: no page twice, none forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glowplug.bench.systems import Held, sampler
from glowplug.bench.systems.memory import environment_bytes, tree_bytes
from glowplug.bench.systems.processes import children, command_line, descendants

MIB = 2**20
SLACK_BYTES = 4 * MIB
TREE = """
import mmap, os
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
chunk = b"1" * 2**16
def write(memory, mebibytes):
    memory.seek(0)
    for _ in range(mebibytes * 16):
        memory.write(chunk)
    return memory
above = write(mmap.mmap(-1, 64 << 20, PRIVATE), 64)
def below():
    write(above, 8)
    own = write(mmap.mmap(-1, 16 << 20, PRIVATE), 16)
    shared = write(mmap.mmap(-1, 4 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS), 4)
    if os.fork() == 0:
        write(own, 2)
        write(shared, 4)
    wait()
def wait():
    os.write(1, b"here\\n")
    os.read(0, 1)
    os._exit(0)
FORK
wait()
"""


@contextmanager
def tree(fork: str, count: int) -> Iterator[int]:
    """The root of a tree of `count` processes, all of which have done what they do."""
    words = [sys.executable, "-c", TREE.replace("FORK", fork)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        for _ in range(count):
            assert process.stdout.readline() == b"here\n"
        assert len(descendants(process.pid)) == count - 1
        yield process.pid
    finally:
        process.communicate()


def test_a_zygote_alone_holds_all_and_nobody_below_it_anything() -> None:
    with tree("", 1) as root:
        environment, own = tree_bytes(root)
        assert environment == environment_bytes(root)
    assert environment > 64 * MIB
    assert own < SLACK_BYTES


def test_what_is_below_counts_what_it_wrote_and_what_it_shares_once() -> None:
    """A child wrote 8 of the 64 MiB above it, made 16 and 4 of its own, and its child wrote 2 of those."""
    with tree("if os.fork() == 0: below()", 3) as root:
        environment, own = tree_bytes(root)
    assert 64 * MIB < environment < 64 * MIB + 3 * SLACK_BYTES
    assert abs(own - (8 + 16 + 4 + 2) * MIB) < SLACK_BYTES


def test_who_is_gone_holds_nothing() -> None:
    assert tree_bytes(2**22 + 1) == (0, 0)
    assert command_line(2**22 + 1) == children(2**22 + 1) == []


def test_a_child_is_found_by_its_words() -> None:
    with tree("", 1) as root:
        assert root in children(os.getpid())
        assert command_line(root)[:2] == [sys.executable, "-c"]


def test_the_total_is_the_sum_of_the_parts() -> None:
    assert Held(own_bytes=1, environment_bytes=20, weights_bytes=300).total_bytes == 321


def test_a_process_that_is_gone_has_nobody_below_it() -> None:
    with tree("", 1) as root:
        pass
    assert children(root) == descendants(root) == []


def test_a_sampler_that_failed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(agent_pid: int, packs: Path) -> int:
        raise ValueError("no sample")

    monkeypatch.setattr(sampler, "function_bytes", fail)
    with pytest.raises(ValueError, match="no sample"), sampler.Sampler(os.getpid(), tmp_path, 60.0):
        pass
