"""Threads that fetch for a class stand back, for the processor too, for whoever computes in a higher one."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.loader import io_priority as io_priority_module
from glowplug.loader.arbiter import Priority
from glowplug.loader.contents import read_contents
from glowplug.loader.devices import device
from glowplug.loader.errors import WeightsUnreadable
from glowplug.loader.fetchers import Fetchers, niceness_of
from glowplug.loader.fetching import Fetch
from glowplug.loader.format import BLOCK_BYTES
from glowplug.loader.io_priority import (
    AS_NICE,
    IDLE,
    LOWEST,
    PATIENCE_S,
    Standing,
    io_priority,
    priority_of,
    set_io_priority,
)
from glowplug.loader.pipeline import begin
from glowplug.loader.sinks import READ_BYTES, HostSink
from glowplug.loader.sources.file import open_file
from glowplug.loader.strategies import strategy
from tests.loader import nets
from tests.loader.loads import Held, start

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="a thread has a niceness of its own on Linux only"),
]


class Watched(Held):
    """Remembers the niceness of whoever reads weights, and what it is to the disk: before and after `go`."""

    def __init__(self, inner: Any, open_bytes: int) -> None:
        super().__init__(inner, open_bytes)
        self.go.set()
        self.seen: list[int] = []
        self.disk: list[tuple[int, int]] = []

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        before = io_priority()
        if offset >= self.open_bytes:
            self.seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        super().read_into(buffer, offset, length)
        if offset >= self.open_bytes:
            self.disk.append((before, io_priority()))


@pytest.mark.parametrize("kind", list(Priority))
def test_a_class_is_read_for_at_its_niceness(wide: Any, kind: Priority) -> None:
    path, offset, x, expected = wide
    source = Watched(open_file(path), offset)
    loading = start(source, "streamed", nets.Wide, priority=kind)
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)
    loading.wait()
    assert set(source.seen) == {niceness_of(kind)}
    expected_of = {Priority.INTERACTIVE: AS_NICE, Priority.BATCH: LOWEST, Priority.BACKGROUND: IDLE}
    assert set(source.disk) == {(expected_of[kind],) * 2}


def test_classes_stand_back_in_their_order() -> None:
    own = os.getpriority(os.PRIO_PROCESS, os.getpid())
    found = [niceness_of(kind) for kind in (Priority.INTERACTIVE, Priority.BATCH, Priority.BACKGROUND)]
    assert found == [min(19, own + nicer) for nicer in (0, 8, 15)]


def test_a_load_that_is_promoted_has_the_threads_of_its_new_class(wide: Any) -> None:
    path, offset, x, expected = wide
    source = Watched(open_file(path), offset)
    source.go.clear()
    loading = start(source, "streamed", nets.Wide, priority=Priority.BACKGROUND)
    assert source.asked.wait(30)
    loading.promote(Priority.INTERACTIVE)
    source.go.set()
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)
    loading.wait()
    assert source.seen[0] == niceness_of(Priority.BACKGROUND)
    assert niceness_of(Priority.INTERACTIVE) in source.seen
    assert (IDLE, AS_NICE) in source.disk, "what was under way went on as one of the new class"
    assert set(source.disk) <= {(IDLE, AS_NICE), (AS_NICE, AS_NICE)}


def test_nobody_who_reads_for_long_leaves_the_disk_to_all_others() -> None:
    assert priority_of(Priority.BACKGROUND, PATIENCE_S - 1) == IDLE
    assert priority_of(Priority.BACKGROUND, PATIENCE_S) == LOWEST
    assert priority_of(Priority.BATCH) == LOWEST
    assert priority_of(Priority.INTERACTIVE, PATIENCE_S) == AS_NICE


def test_a_thread_is_to_the_disk_what_it_was_when_it_has_read() -> None:
    found: list[int] = []

    def read() -> None:
        set_io_priority(LOWEST)
        standing = Standing(Priority.BACKGROUND)
        with standing:
            found.append(io_priority())
            standing.promote(Priority.INTERACTIVE)
            found.append(io_priority())
        found.append(io_priority())
        standing.promote(Priority.BACKGROUND)
        found.append(io_priority())

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert found == [IDLE, AS_NICE, LOWEST, LOWEST]
    assert io_priority() == AS_NICE


def test_a_thread_has_no_more_of_the_disk_than_its_process() -> None:
    found: list[int] = []

    def read() -> None:
        for kind in Priority:
            with Standing(kind):
                found.append(io_priority())

    set_io_priority(LOWEST, os.getpid())
    try:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    finally:
        set_io_priority(AS_NICE, os.getpid())
    assert found == [IDLE, LOWEST, LOWEST]


def test_a_kernel_that_knows_no_priority_of_reads_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_priority_module, "_calls", lambda: (-1, -1))
    with Standing(Priority.BACKGROUND) as standing:
        standing.promote(Priority.INTERACTIVE)
    assert not set_io_priority(IDLE)
    assert io_priority() == AS_NICE


def test_a_store_that_does_not_answer_keeps_no_other_load_waiting(wide: Any) -> None:
    path, offset, x, expected = wide
    fetchers, slow = Fetchers(threads=2), Held(open_file(path), offset)
    stuck = begin(slow, strategy("streamed"), device=device("cpu"), fetchers=fetchers)
    until_s = time.monotonic() + 30
    while len(slow.offsets) < 2:
        assert time.monotonic() < until_s
    for _ in range(3):
        loading = begin(open_file(path), strategy("streamed"), device=device("cpu"), fetchers=fetchers)
        loading.wait()
        with torch.inference_mode():
            assert torch.equal(loading.model(x), expected)
    assert fetchers.threads <= 4
    slow.go.set()
    stuck.wait()


def test_a_load_has_as_many_reads_under_way_as_its_store_wants(tmp_path: Path) -> None:
    path = tmp_path / "twelve.pt"
    torch.save({"w": torch.arange(12 * BLOCK_BYTES // 8)}, path)
    file = open_file(path)
    contents, ended = read_contents(file), threading.Event()
    sink = HostSink(memoryview(bytearray(contents.header.weights_nbytes)))
    source, fetchers, errors = Held(file), Fetchers(), list[BaseException]()
    fetch = Fetch(source, contents, sink, lambda unit: None, errors.append, ended.set)
    number = fetchers.start(fetch, Priority.INTERACTIVE, parallel=12)
    fetchers.release(number, fetch.units, BLOCK_BYTES)
    until_s = time.monotonic() + 30
    while len(source.offsets) < 12:
        assert time.monotonic() < until_s
    source.go.set()
    assert ended.wait(30)
    assert errors == []
    assert sink.memory.tobytes() == path.read_bytes()[contents.weights_offset :][: len(sink.memory)]


class Told(Fetchers):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    @contextlib.contextmanager
    def expecting(self, priority: Priority) -> Iterator[None]:
        self.heard.append(priority.name)
        try:
            with super().expecting(priority):
                yield
        finally:
            self.heard.append("came")

    def release(self, number: int, units: Sequence[int], read_bytes: int = READ_BYTES) -> None:
        self.heard.append("weights")
        super().release(number, units, read_bytes)


class Asked(Held):
    """Tells of reads of the head."""

    heard: list[str]

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        if offset < self.open_bytes:
            self.heard.append("head")
        super().read_into(buffer, offset, length)


def test_a_load_is_expected_from_its_head_to_its_first_weights(wide: Any) -> None:
    path, offset, _, _ = wide
    fetchers, source = Told(), Asked(open_file(path), offset)
    source.heard = fetchers.heard
    source.go.set()
    begin(source, strategy("streamed"), device=device("cpu"), fetchers=fetchers).wait()
    assert fetchers.heard == ["INTERACTIVE", "head", "weights", "came"]


def test_a_load_that_cannot_begin_is_expected_no_more(tmp_path: Path) -> None:
    path, fetchers = tmp_path / "broken.pack", Told()
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsUnreadable):
        begin(open_file(path), strategy("streamed"), device=device("cpu"), fetchers=fetchers)
    assert fetchers.heard == ["INTERACTIVE", "came"]
