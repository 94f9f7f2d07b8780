"""Every source passes the same suite."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from glowplug.loader.sources import FileSource, WeightSource, direct, open_source
from glowplug.loader.sources.faults import Fault, Faults
from glowplug.loader.sources.http import HttpSource
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.sources.object_store import ObjectStoreSource
from glowplug.loader.sources.resuming import ResumingSource
from glowplug.loader.sources.retrying import Retry
from glowplug.loader.sources.throttled import ThrottledSource
from glowplug.testing.source_suite import CONTENT, SourceSuite
from tests.loader.sources.clock import ManualClock
from tests.loader.sources.server import FileServer


class TestMemory(SourceSuite):
    @pytest.fixture
    def source(self) -> WeightSource:
        return MemorySource(CONTENT)


class TestFile(SourceSuite):
    @pytest.fixture
    def source(self, file: Path) -> Iterator[WeightSource]:
        with closing(open_source(file)) as opened:
            yield opened


class TestFileOfAnother(SourceSuite):
    @pytest.fixture
    def source(self, file: Path) -> Iterator[WeightSource]:
        with io.FileIO(str(file)) as owner:
            yield FileSource(owner.fileno(), str(file))


class TestDirectFile(SourceSuite):
    @pytest.fixture
    def source(self, file: Path) -> Iterator[WeightSource]:
        with closing(open_source(file, direct=True)) as opened:
            yield opened


class TestDirectFileRefused(SourceSuite):
    """The kernel refuses reads that are aligned to nothing, as some file systems refuse all."""

    @pytest.fixture
    def source(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightSource]:
        monkeypatch.setattr(direct, "ALIGN_BYTES", 1)
        with closing(open_source(file, direct=True)) as opened:
            yield opened


class TestHttp(SourceSuite):
    @pytest.fixture
    def source(self, server: FileServer) -> Iterator[WeightSource]:
        with closing(HttpSource(server.url)) as opened:
            yield opened


class TestHttpResuming(SourceSuite):
    @pytest.fixture
    def source(self, server: FileServer) -> Iterator[WeightSource]:
        with closing(open_source(server.url)) as opened:
            yield opened


class TestObjectsInMemory(SourceSuite):
    @pytest.fixture
    def source(self) -> Iterator[WeightSource]:
        obstore = pytest.importorskip("obstore", reason="needs the stores extra")
        store = obstore.store.MemoryStore()
        obstore.put(store, "models/net.pack", CONTENT)
        with closing(ObjectStoreSource(store, "models/net.pack", "memory")) as opened:
            yield opened


class TestObjectsInAFolder(SourceSuite):
    @pytest.fixture
    def source(self, file: Path) -> Iterator[WeightSource]:
        obstore = pytest.importorskip("obstore", reason="needs the stores extra")
        store = obstore.store.LocalStore(file.parent)
        with closing(ObjectStoreSource(store, file.name, str(file))) as opened:
            yield opened


class TestThrottled(SourceSuite):
    @pytest.fixture
    def source(self) -> WeightSource:
        return ThrottledSource(
            MemorySource(CONTENT),
            bandwidth_bytes_s=1e6,
            latency_s=0.01,
            jitter_s=0.01,
            clock=ManualClock(),
        )


class TestResuming(SourceSuite):
    @pytest.fixture
    def source(self) -> WeightSource:
        clock = ManualClock()
        rates = {Fault.RESET: 0.2, Fault.SHORT: 0.1, Fault.STALL: 0.1, Fault.LONG: 0.1, Fault.BROKEN: 0.1}
        store = ThrottledSource(
            MemorySource(CONTENT), bandwidth_bytes_s=1e8, faults=Faults(rates), stall_s=1.0, clock=clock
        )
        retry = Retry(attempts=50, deadline_s=1e6)
        return ResumingSource(store, retry, clock=clock, rng=random.Random(3))
