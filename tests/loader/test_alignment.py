"""Tensors begin where kernels expect them, wherever their file has them."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import struct
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import nn

from glowplug import loader
from glowplug.loader.alignment import KERNELS_ALIGN_BYTES, lead_bytes, settle
from glowplug.loader.arena import Arena
from glowplug.loader.contents import read_contents
from glowplug.loader.devices import device
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.pipeline import Loading, begin
from glowplug.loader.sources.file import open_file
from glowplug.loader.strategies import STRATEGIES, strategy

pytestmark = pytest.mark.torch


def shifted(state: dict[str, torch.Tensor], shift: int, path: Path) -> Path:
    """A safetensors file whose weights begin `shift` bytes after a multiple of 16."""
    from safetensors.torch import save

    data = save(state)
    (header_nbytes,) = struct.unpack("<Q", data[:8])
    text = data[8 : 8 + header_nbytes]
    text += b" " * ((shift - 8 - header_nbytes) % KERNELS_ALIGN_BYTES)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + header_nbytes :])
    return path


def begins(model: nn.Module) -> list[int]:
    return [tensor.data_ptr() % KERNELS_ALIGN_BYTES for tensor in model.state_dict().values()]


@pytest.mark.parametrize("shift", [0, 4, 8, 12])
def test_a_model_is_settled_where_it_is(shift: int, tmp_path: Path) -> None:
    source = nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 3))
    path = shifted(dict(source.state_dict()), shift, tmp_path / "w.safetensors")
    model = nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 3))
    loader.assign(model, loader.read_state_dict(path), path)
    before = list(model.parameters())
    settle([model])
    assert begins(model) == [0, 0, 0, 0]
    assert all(one is other for one, other in zip(model.parameters(), before, strict=True))
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_memory_that_something_else_uses_stays_where_it_is() -> None:
    whole = torch.frombuffer(bytearray(68), dtype=torch.float32, count=16, offset=4)
    model = nn.Linear(4, 4, bias=False)
    model.weight = nn.Parameter(whole.view(4, 4))
    held = model.weight.detach()[1:]
    settle([model])
    assert held.data_ptr() == model.weight[1:].data_ptr()


def test_what_is_lazy_has_no_memory_yet() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.LazyLinear(4), nn.LazyBatchNorm1d())
    weight = torch.frombuffer(bytearray(68), dtype=torch.float32, count=16, offset=4).view(4, 4)
    model[0].weight = nn.Parameter(weight)
    del weight
    settle([model])
    assert model[0].weight.data_ptr() % KERNELS_ALIGN_BYTES == 0
    assert torch.nn.parameter.is_lazy(model[1].weight)
    assert model(torch.ones(2, 4)).shape == (2, 4)


ASSIGNING = [name for name, one in STRATEGIES.items() if one.apply != "copy"]
STREAMING = [name for name in ASSIGNING if STRATEGIES[name].fetch != "mapped"]


class Counting(nn.Module):
    """Layers behind a count of 8 bytes, and a few floats of 4 each between."""

    def __init__(self, floats: int = 0) -> None:
        super().__init__()
        self.register_buffer("a_count", torch.zeros(1, dtype=torch.int64))
        for number in range(floats):
            self.register_buffer(f"b_{number}", torch.full((1,), float(number)))
        self.layers = nn.ModuleList([nn.Linear(64, 64, bias=False) for _ in range(4)])


class Told(Arena):
    """Remembers what it lent."""

    def __init__(self) -> None:
        super().__init__(2**24)
        self.lent: list[int] = []

    def lend(self, nbytes: int) -> memoryview:
        self.lent.append(nbytes)
        return super().lend(nbytes)


def loaded(path: Path, name: str, floats: int, on: str = "cpu", arena: Arena | None = None) -> Loading:
    loading = begin(
        open_file(path), strategy(name), device=device(on), build=lambda: Counting(floats),
        fetchers=Fetchers(), arena=arena or Arena(0),
    )  # fmt: skip
    loading.wait()
    return loading


def cloned(loading: Loading) -> list[str]:
    """Those of its tensors that are not in the memory to which they were fetched."""
    memory = torch.frombuffer(loading._delivery.memory, dtype=torch.uint8)
    start = memory.data_ptr()
    state = loading.model.state_dict()
    return [name for name, one in state.items() if not 0 <= one.data_ptr() - start < memory.nbytes]


@pytest.mark.parametrize("shift", [0, 1, 8])
@pytest.mark.parametrize(
    ("floats", "expected"), [(0, ["a_count"]), (3, ["a_count", "b_0", "b_1", "b_2"]), (2, ["b_0", "b_1"])]
)
@pytest.mark.parametrize("name", STREAMING)
def test_most_of_what_is_streamed_begins_well_and_only_the_rest_is_moved(
    name: str, floats: int, expected: list[str], shift: int, tmp_path: Path
) -> None:
    """By bytes, not by number: the layers are most of them, also where they are fewer."""
    source = Counting(floats)
    path = shifted(dict(source.state_dict()), shift, tmp_path / "w.safetensors")
    arena = Told()
    loading = loaded(path, name, floats, arena=arena)
    assert cloned(loading) == expected
    assert set(begins(loading.model)) == {0}
    for key, tensor in source.state_dict().items():
        assert torch.equal(loading.model.state_dict()[key], tensor)
    nbytes = loading.contents.header.weights_nbytes
    assert len(loading._delivery.memory) == nbytes
    if strategy(name).recycled:
        assert nbytes <= sum(arena.lent) < nbytes + KERNELS_ALIGN_BYTES


def test_a_file_in_which_all_begin_well_gets_no_more_than_it_has(tmp_path: Path) -> None:
    path = shifted(dict(nn.Linear(64, 8).state_dict()), 4, tmp_path / "w.safetensors")
    assert lead_bytes(read_contents(open_file(path)).header) == 0


@pytest.mark.parametrize("name", ASSIGNING)
def test_nothing_is_moved_on_a_device(name: str, tmp_path: Path) -> None:
    """What was reserved there is where the weights are."""
    source = Counting(3)
    path = shifted(dict(source.state_dict()), 4, tmp_path / "w.safetensors")
    loading = loaded(path, name, 3, "virtual")
    assert cloned(loading) == []
    for key, tensor in source.state_dict().items():
        assert torch.equal(loading.model.state_dict()[key], tensor)
