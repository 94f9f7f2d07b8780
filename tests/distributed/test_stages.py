"""Models cut into stages answer like the whole ones, bit for bit, or say why they cannot be cut."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.distributed import carry  # noqa: E402
from glowplug.distributed.chains import Block, module_bytes  # noqa: E402
from glowplug.distributed.cutting import cut_chain, cut_model, cut_to_fit  # noqa: E402
from glowplug.distributed.errors import CannotCut, PartTooLarge  # noqa: E402
from glowplug.distributed.stages import Call, Together, handover_in  # noqa: E402
from tests.distributed import stage_nets as nets  # noqa: E402

pytestmark = pytest.mark.torch


def answered(make: Callable[[], Any], example: Any, workers: int, limit_bytes: int = 0) -> Any:
    """The cut, after the cut model answered as the whole one had, also when its parts were pickled."""
    torch.manual_seed(0)
    model = make().eval()
    with torch.inference_mode():
        expected = model(*example)
    cut = cut_model(model, lambda: model(*example), workers, limit_bytes)
    model, stages = pickle.loads(pickle.dumps((model, cut.stages)))
    handover = handover_in([model])
    assert handover is not None
    handover.peer = Together(stages)
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(model(*example), expected)
    return cut


@pytest.mark.parametrize("workers", [2, 3, 4])
@pytest.mark.parametrize("name", nets.NETS)
def test_a_cut_model_answers_the_same_bits(name: str, workers: int) -> None:
    make, example = nets.NETS[name]
    cut = answered(make, example(), workers)
    assert len(cut.stages) == workers - 1
    assert all(len(stage.blocks) for stage in cut.stages)


def test_a_transformer_is_cut_between_its_layers() -> None:
    make, example = nets.NETS["transformer"]
    cut = answered(make, example(), 2)
    assert cut.blocks[0] == ("layers.0", "layers.1", "layers.2")
    assert cut.blocks[1] == ("layers.3", "layers.4", "layers.5")


def test_each_tensor_is_with_one_worker_only() -> None:
    make, example = nets.NETS["transformer"]
    torch.manual_seed(0)
    model = make().eval()
    whole_bytes = module_bytes(model)
    cut = cut_model(model, lambda: model(*example()), 3)
    assert module_bytes(model) + sum(map(module_bytes, cut.stages)) == whole_bytes


def test_a_limit_moves_the_cut() -> None:
    make, example = nets.NETS["layers"]
    one = 4 * (16 * 16 + 16)
    cut = answered(make, example(), 3, limit_bytes=2 * one)
    assert [len(stage.blocks) for stage in cut.stages] == [2, 2]
    with pytest.raises(PartTooLarge, match=r"one of them has .* more than the .* of memory="):
        answered(make, example(), 3, limit_bytes=2 * one - 1)


def test_as_few_workers_as_can_hold_a_model() -> None:
    make, example = nets.NETS["layers"]
    one = 4 * (16 * 16 + 16)
    for limit_bytes, workers in ((6 * one - 1, 2), (2 * one, 3), (2 * one - 1, 6)):
        model = make().eval()
        cut = cut_to_fit(model, lambda m=model: m(*example()), 64, limit_bytes)
        assert 1 + len(cut.stages) == workers
    model = make().eval()
    with pytest.raises(PartTooLarge, match=f"the model has {6 * one} bytes and memory= lets .* {one - 1} of"):
        cut_to_fit(model, lambda: model(*example()), 64, one - 1)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("one_layer", r"need a chain of at least 2 modules.* the longest here has 1"),
        ("twice", r"the longest here has 0"),
        ("skips", r"the longest here has 1"),
    ],
)
def test_what_cannot_be_cut_says_why(name: str, why: str) -> None:
    make, example = nets.UNCUTTABLE[name]
    model = make().eval()
    with pytest.raises(CannotCut, match=why):
        cut_model(model, lambda: model(*example()), 2)


def test_a_model_that_is_never_called_says_so() -> None:
    with pytest.raises(CannotCut, match="never calls its model"):
        cut_model(torch.nn.Linear(2, 2), lambda: None, 2)


def test_a_value_that_another_worker_has_cannot_be_looked_at() -> None:
    model = nets.Peeking().eval()
    cut = cut_model(model, lambda: model(torch.ones(1, 8), False), 2)
    handover = handover_in([model])
    assert handover is not None
    handover.peer = Together(cut.stages)
    model(torch.ones(1, 8), False)
    with pytest.raises(TypeError):
        model(torch.ones(1, 8), True)


def test_shares_are_cut_evenly() -> None:
    chain = [Block(str(n), 10, 1.0, 0) for n in range(6)]
    assert cut_chain(chain, (0, 0.0), (60, 6.0), 3) == (pytest.approx(1 / 3), 20, (2, 4))
    assert cut_chain(chain, (20, 0.0), (80, 6.0), 2).starts == (3,)
    assert cut_chain(chain, (1, 0.0), (61, 6.0), 8) is None


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "int64", "bool"])
def test_what_is_handed_on_comes_back_as_it_was(dtype: str) -> None:
    tensor = (torch.arange(24) - 5).reshape(2, 3, 4).to(getattr(torch, dtype)).transpose(0, 2)
    call = Call(tensor, (None, 3, "text", (tensor, [1.5])), {"mask": torch.empty(0, 2), "flag": True})
    found = Call(*carry.unpack(carry.pack(tuple(call))))
    assert torch.equal(found.hidden, tensor)
    assert found.hidden.stride() == tensor.stride()
    assert found.args[:3] == (None, 3, "text")
    assert found.args[3][0] is found.hidden
    assert found.kwargs["mask"].shape == (0, 2)
    with pytest.raises(CannotCut, match="called with a object"):
        carry.pack((object(),))
