"""Copies to a device that are still under way: whoever reads a weight's bytes waits for its copy."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from safetensors.torch import save_file
from torch import nn

from glowplug import loader
from glowplug.loader.arriving import announce
from glowplug.loader.clock import RealClock
from glowplug.loader.devices.base import Placement
from glowplug.loader.devices.virtual import Profile, VirtualDevice
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.pipeline import Loading, begin
from glowplug.loader.sources.base import Advice, WeightSource
from glowplug.loader.sources.file import open_file
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.strategies import STRATEGIES, strategy
from tests.loader import nets

pytestmark = pytest.mark.torch

OVERLAPPING = [name for name, one in STRATEGIES.items() if one.overlap]
ASSIGNING = [name for name in OVERLAPPING if STRATEGIES[name].apply == "assign"]
X = torch.linspace(-1, 1, 1024).view(2, 512)


class Late:
    """A copy that lands for who computes with it, and by itself not before `over`."""

    def __init__(self, inner: Placement, over: threading.Event) -> None:
        self.memory = inner.memory
        self.guard = inner.guard
        self._inner = inner
        self._over = over

    def done(self) -> bool:
        return self._over.is_set() and self._inner.done()

    def wait(self) -> None:
        assert self._over.wait(30)
        self._inner.wait()


class Card(VirtualDevice):
    def __init__(self) -> None:
        super().__init__(Profile(2**30, 1e12), RealClock())
        self.over = threading.Event()
        self.guarded: list[int] = []

    def copy(self, part: memoryview, memory: memoryview, offset: int) -> Any:
        copy = Late(super().copy(part, memory, offset), self.over)
        guard = copy.guard

        def seen() -> None:
            self.guarded.append(offset)
            guard()

        copy.guard = seen
        return copy


@pytest.fixture
def card() -> Iterator[Card]:
    device = Card()
    yield device
    device.over.set()


class Eager(MemorySource):
    """So many reads at once that no staging memory is used twice."""

    advice = Advice(parallel=12, read_bytes=4 * 2**20)


def loaded(path: Path, name: str, device: Card, build: Any = None) -> Loading:
    mapped = STRATEGIES[name].fetch == "mapped"
    source: WeightSource = open_file(path) if mapped else Eager(path.read_bytes(), str(path))
    return begin(source, strategy(name), device=device, build=build, fetchers=Fetchers())


class Kept(nn.Module):
    """Has a view of each layer's weight beside it, so what it built gets copies."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(512, 512) for _ in range(3))
        self.rows = [layer.weight.detach()[3:5] for layer in self.layers]

    def forward(self, x: Any) -> Any:
        for layer, rows in zip(self.layers, self.rows, strict=True):
            x = layer(x) + rows.sum()
        return x


def normed() -> nn.Module:
    """Each layer's `weight` is an attribute on the memory of its parameter."""
    return nn.Sequential(*(nn.utils.spectral_norm(nn.Linear(512, 512)) for _ in range(3)))


@pytest.mark.parametrize("build", [Kept, normed])
@pytest.mark.parametrize("suffix", [".pack", ".pt"])
@pytest.mark.parametrize("name", ASSIGNING)
def test_memory_that_something_shares_gets_what_has_landed(
    tmp_path: Path, card: Card, name: str, suffix: str, build: Any
) -> None:
    torch.manual_seed(1)
    model, path = build().eval(), tmp_path / f"k{suffix}"
    if suffix == ".pack":
        loader.pack(model, X, path)
    else:
        torch.save(model.state_dict(), path)
    with torch.inference_mode():
        expected = model(X)
        assert torch.equal(loaded(path, name, card, build).model(X), expected)


def test_what_shares_nothing_is_assigned_without_waiting(tmp_path: Path, card: Card) -> None:
    torch.save(nets.Wide().state_dict(), tmp_path / "w.pt")
    loading = loaded(tmp_path / "w.pt", "cicada", card, nets.Wide)
    for event in loading._gates._events:
        assert event.wait(30)
    assert card.guarded == []
    with torch.inference_mode():
        loading.model(X)
    assert len(card.guarded) >= len(loading.contents.header.units) > 1


class Overlapping(nn.Module):
    """Parameters that have rows in common."""

    def __init__(self) -> None:
        super().__init__()
        memory = torch.zeros(1500, 512)
        self.one, self.two = nn.Parameter(memory[:1000]), nn.Parameter(memory[500:])
        self.memory = memory

    def forward(self, x: Any) -> Any:
        return x @ self.one.T @ self.two


@pytest.mark.parametrize("name", OVERLAPPING)
def test_parameters_that_overlap_are_compared_with_what_has_landed(
    tmp_path: Path, card: Card, name: str
) -> None:
    values = torch.rand(1500, 512)
    save_file({"one": values[:1000].clone(), "two": values[500:].clone()}, tmp_path / "o.safetensors")
    model = loaded(tmp_path / "o.safetensors", name, card, Overlapping).model
    assert torch.equal(model.memory, values)
    with torch.inference_mode():
        assert torch.equal(model(X), X @ values[:1000].T @ values[500:])


@pytest.mark.parametrize("name", OVERLAPPING)
def test_what_rebuilds_an_object_computes_on_what_has_landed(tmp_path: Path, card: Card, name: str) -> None:
    model = nets.Doubled().eval()
    loader.pack(model, X, tmp_path / "d.pack")
    with torch.inference_mode():
        assert torch.equal(loaded(tmp_path / "d.pack", name, card).model(X), model(X))


def test_what_rebuilds_an_object_that_arrives_computes_on_what_has_landed(tmp_path: Path, card: Card) -> None:
    model = nets.Doubled().eval()
    info = loader.pack(model, X, tmp_path / "d.pack")
    reader, writer = os.pipe()
    announce(writer, list(range(len(info.units))))
    os.close(writer)
    with loader.open_pack(tmp_path / "d.pack", reader) as pack, torch.inference_mode():
        assert torch.equal(pack.load(device=card)(X), model(X))  # type: ignore[operator]
