"""Tensors begin where kernels expect them, wherever their file has them."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import struct
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import nn

from glowplug import loader
from glowplug.loader.alignment import KERNELS_ALIGN_BYTES, settle

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
