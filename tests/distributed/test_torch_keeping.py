"""What a module keeps of a call is seen, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")
from torch import Tensor, nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

from glowplug.distributed.torch_keeping import watched  # noqa: E402
from tests.distributed import stage_nets as nets  # noqa: E402

pytestmark = pytest.mark.torch


class Keeps(nn.Module):
    def __init__(self, keep: Callable[[Any, Tensor], object]) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4))
        self.keep = keep
        self.size, self.seen, self.by_name = 3, list[Tensor](), dict[str, Tensor]()
        self.plain = torch.zeros(3, 4)
        self.register_buffer("held", torch.zeros(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.keep(self, x)
        return self.inner(x)


KEPT: dict[str, Callable[[Any, Tensor], object]] = {
    "an attribute": lambda net, x: setattr(net, "skip", x),
    "the same number again": lambda net, x: setattr(net, "size", len(x)),
    "in a list": lambda net, x: net.seen.append(x),
    "in a dict": lambda net, x: net.by_name.update(x=x),
    "in a buffer": lambda net, x: net.held.copy_(x),
    "in a part of a tensor": lambda net, x: net.plain[:1].add_(x[:1]),
    "in a parameter": lambda net, x: net.inner[0].bias.add_(1),
}


@pytest.mark.parametrize("how", KEPT)
def test_whatever_is_kept_is_seen(how: str) -> None:
    net = Keeps(KEPT[how])
    with torch.inference_mode():
        for _ in range(2):  # as a model that ran before
            found, keepers = watched(net, lambda: net(torch.ones(3, 4)))
            assert keepers == (["inner.0"] if how == "in a parameter" else [""])
            assert found.shape == (3, 4)
    assert nn.Module.__setattr__.__qualname__ == "Module.__setattr__", "as it was"


def test_a_model_that_keeps_nothing_keeps_nothing() -> None:
    pruned = nn.Linear(16, 16)
    prune.random_unstructured(pruned, "weight", 0.5)
    cases = [(nets.Transformer(), nets.tokens()), (nets.Convolutions(), nets.image())]
    with torch.inference_mode():
        for net, given in [*cases, (pruned, nets.vector(16)())]:
            net.eval()
            assert watched(net, lambda net=net, given=given: net(*given))[1] == []
