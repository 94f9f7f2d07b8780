"""Families of models, as their authors wrote them, are cut for several workers and answer the same bits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from architectures.zoo import ZOO  # noqa: E402
from glowplug.distributed.chains import module_bytes  # noqa: E402
from glowplug.distributed.cutting import cut_model  # noqa: E402
from glowplug.distributed.stages import Together, handover_in  # noqa: E402

pytestmark = pytest.mark.torch
LARGEST = {"minilm": 0.7, "gpt2": 0.5, "vit_b16": 0.4, "resnet50": 0.6, "regnet": 0.5, "mobilenetv2": 0.5}
"""How much of a model's bytes any of three workers has, at most: shares are of bytes and FLOPs."""


@pytest.mark.parametrize("name", LARGEST)
def test_an_architecture_is_cut_for_three_workers(name: str) -> None:
    entry = ZOO[name]
    torch.manual_seed(0)
    model, example = entry.build().eval(), entry.example()
    with torch.inference_mode():
        expected = model(*example)
    whole_bytes = module_bytes(model)
    cut = cut_model(model, lambda: model(*example), 3)
    handover = handover_in([model])
    assert handover is not None
    handover.peer = Together(cut.stages)
    with torch.inference_mode():
        assert torch.equal(model(*example), expected)
    assert max(map(module_bytes, (model, *cut.stages))) <= LARGEST[name] * whole_bytes
