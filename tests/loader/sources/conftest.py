"""Sources give back what they took: after each test there are the descriptors and threads of before."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.testing.source_suite import CONTENT
from tests.loader.sources.server import FileServer, serving

WAIT_S = 60.0


def descriptors() -> Counter[str]:
    """What is open, but for what a runtime of native threads keeps for itself once it was used."""
    found: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[str(entry.readlink())] += 1
    return Counter(
        {to: n for to, n in found.items() if not to.startswith(("anon_inode:", "pipe:", "/proc/"))}
    )


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("broker") is not None:
        # A broker has threads and connections of its own, and they end when it likes.
        yield
        return
    before, threads = descriptors(), set(threading.enumerate())
    yield
    # What a test before this one left to the garbage collector may be gone by now.
    assert set(threading.enumerate()) <= threads
    # A connection that was given up is closed by a native thread, a moment later.
    deadline_s, pause = time.monotonic() + WAIT_S, threading.Event()
    while not (now := descriptors()) <= before and time.monotonic() < deadline_s:
        pause.wait(0.001)
    assert now <= before


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.pack"
    path.write_bytes(CONTENT)
    return path
