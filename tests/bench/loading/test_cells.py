"""One cell of experiment `loading`: who checks for damage, and where; and how fast a disk is."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.bench.loading.cells import DISK_WARM, Bytes, disk_bandwidth, measure, read_all, throttled, watch
from glowplug.bench.loading.models import Subject
from glowplug.loader import page_cache_bytes
from glowplug.loader.sources.base import Advice
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.strategies import STRATEGIES
from tests.loader import nets

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A pack of which a weight was changed since it was written."""
    pack: Path = tmp_path_factory.mktemp("packs") / "wide.pack"
    torch.manual_seed(1)
    model, x = nets.Wide().eval(), torch.linspace(-1, 1, 512).view(1, 512)
    loader.pack(model, x, pack)
    with loader.open_pack(pack) as opened, torch.inference_mode():
        info, expected = opened.info, model(x)
    content = bytearray(pack.read_bytes())
    content[info.weights_offset + info.units[2].offset + 1] ^= 64
    pack.write_bytes(content)
    return Subject("wide", pack, nets.Wide, (x,), expected, 0.0, info, (0.0,) * len(info.units))


@pytest.mark.parametrize("system", STRATEGIES)
def test_on_this_disk_nobody_checks(system: str, damaged: Subject) -> None:
    assert not measure(system, damaged, DISK_WARM, None).equal
    watch(system, damaged, DISK_WARM, None)


@pytest.mark.parametrize("system", [name for name in STRATEGIES if name != "mapped"])
def test_from_a_store_everybody_does(system: str, damaged: Subject) -> None:
    store, held = throttled(1e9), Bytes(damaged.pack)
    for load in (measure, watch):
        with pytest.raises(loader.PackCorrupt, match=r"wide\.pack: unit 2 "):
            load(system, damaged, store, held)


class Together(MemorySource):
    """Answers nobody before three have asked."""

    advice = Advice(parallel=3, read_bytes=100)

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.three = threading.Barrier(3)
        self.seen: list[tuple[int, int]] = []

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        self.three.wait(30)
        self.seen.append((offset, length))
        super().read_into(buffer, offset, length)


def test_a_disk_is_timed_with_as_many_reads_as_keep_it_busy() -> None:
    source = Together(bytes(550))
    read_all(source)
    assert sorted(source.seen) == [*((offset, 100) for offset in range(0, 500, 100)), (500, 50)]


def test_what_a_disk_gives_is_measured_cold(damaged: Subject) -> None:
    assert disk_bandwidth(damaged.pack) > 0
    assert page_cache_bytes(damaged.pack) <= damaged.pack.stat().st_size // 50
