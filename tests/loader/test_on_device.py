"""A model that is loaded to a device has all of it there: also what no file holds, and what has no bytes."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from safetensors.torch import save_model

from glowplug import loader
from glowplug.loader.devices import device as device_called
from glowplug.loader.devices.base import Placed, Placement, Reservation
from glowplug.loader.devices.counted import InHostMemory
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.pipeline import begin
from glowplug.loader.sources.file import open_file
from glowplug.loader.strategies import STRATEGIES, strategy
from tests.loader import nets

pytestmark = pytest.mark.torch

IDS = torch.arange(24).view(2, 12)


class Nowhere(InHostMemory):
    """A device whose tensors are not this process's memory, and have no values either."""

    def __init__(self) -> None:
        super().__init__("nowhere:0", 2**30)

    def allocate(self, reservation: Reservation) -> Any:
        return torch.empty(reservation.nbytes, dtype=torch.uint8, device="meta")

    def copy(self, part: memoryview, memory: Any, offset: int) -> Placement:
        return Placed(memory)


class Net(nets.TiedTransformer):
    """Its positions are in no file of weights, and one buffer has no bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("none", torch.zeros(0, 4))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(pack, plain file, answer)"""
    folder = tmp_path_factory.mktemp("net")
    torch.manual_seed(1)
    model = Net().eval()
    loader.pack(model, (IDS,), folder / "n.pack")
    save_model(model, str(folder / "n.safetensors"))
    with torch.inference_mode():
        return folder / "n.pack", folder / "n.safetensors", model(IDS)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", STRATEGIES)
def test_everything_is_on_the_device(packed: Any, name: str, plain: bool) -> None:
    path: Path = packed[plain]
    loading = begin(open_file(path), strategy(name), device=Nowhere(), build=Net, fetchers=Fetchers())  # type: ignore[arg-type]
    loading.wait()
    model = loading.model
    found = {name: str(tensor.device) for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    assert {"positions", "none"} <= found.keys()
    assert set(found.values()) == {"meta"}
    assert model.out.weight is model.tokens.weight


@pytest.mark.gpu
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_answer_on_a_card_is_the_plain_one(packed: Any, name: str, plain: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    path: Path = packed[plain]
    card = device_called("cuda")
    loading = begin(open_file(path), strategy(name), device=card, build=Net, fetchers=Fetchers())
    with torch.inference_mode():
        answer = loading.model(IDS.cuda()).cpu()
    assert torch.allclose(answer, packed[2], atol=1e-3)
    assert all(tensor.is_cuda for tensor in (*loading.model.parameters(), *loading.model.buffers()))
