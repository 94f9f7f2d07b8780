"""Threads that fetch for a class stand back, for the processor too, for whoever computes in a higher one."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.loader.arbiter import Priority
from glowplug.loader.fetchers import niceness_of
from glowplug.loader.sources.file import open_file
from tests.loader import nets
from tests.loader.loads import Held, start

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="a thread has a niceness of its own on Linux only"),
]


class Watched(Held):
    """Remembers the niceness of whoever reads weights."""

    def __init__(self, inner: Any, open_bytes: int) -> None:
        super().__init__(inner, open_bytes)
        self.go.set()
        self.seen: list[int] = []

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        if offset >= self.open_bytes:
            self.seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        super().read_into(buffer, offset, length)


@pytest.mark.parametrize("kind", list(Priority))
def test_a_class_is_read_for_at_its_niceness(wide: Any, kind: Priority) -> None:
    path, offset, x, expected = wide
    source = Watched(open_file(path), offset)
    loading = start(source, "streamed", nets.Wide, priority=kind)
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)
    loading.wait()
    assert set(source.seen) == {niceness_of(kind)}


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
