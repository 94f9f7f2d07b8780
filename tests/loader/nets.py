"""Small modules with every habit that a pack must keep; a file of its own, so that they can be imported."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.stem(x))).mean((2, 3)))


class TiedTransformer(nn.Module):
    """Token embedding tied to the output layer, positions in a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.register_buffer("positions", torch.linspace(-1, 1, 12 * 16).view(12, 16), persistent=False)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.out = nn.Linear(16, 50, bias=False)
        self.out.weight = self.tokens.weight

    def forward(self, ids: Tensor, scale: float = 1.0) -> Tensor:
        x = self.tokens(ids) * scale + self.positions[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


class Shared(nn.Module):
    """One block under two names, as models that repeat their layers have it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512))
        self.again = self.first
        self.head = nn.Linear(512, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.first(x)))


class Reversed(nn.Module):
    """Runs its layers in another order than declared; `spare` never runs, `scale` is a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)
        self.first = nn.Linear(4, 4)
        self.scale = torch.full((4,), 3.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x))) * self.scale


class Views(nn.Module):
    """One storage behind a fused weight, its parts, and a transposed view."""

    def __init__(self) -> None:
        super().__init__()
        fused = torch.randn(12, 4)
        self.register_buffer("fused", fused)
        self.query, self.key = fused[:4], fused[4:8]
        self.turned = fused.t()
        self.bits = fused.view(torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.query.t() + x @ self.key.t() + (x @ self.turned).sum()


class Holder:
    """An instance as users write them: a module among other things."""

    def __init__(self, model: nn.Module, **others: Any) -> None:
        self.model = model
        self.others = others


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """`module` in eval mode, its batch statistics no longer 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point() and "running" in name:
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module.eval()


class Wide(nn.Module):
    """Layers of a megabyte and more, so that a pack has several units."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(512, 512) for _ in range(6)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Recurrent(nn.Module):
    """A recurrent layer keeps its weights in a list of its own too, which no gate sees."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 8, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


class Aliased(nn.Module):
    """Computes by what it keeps of its weights beside them: a list, a partial, a view."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(3))
        self.layers[1].weight.requires_grad_(False)
        self.listed = [self.layers[0].weight]
        self.bound = partial(functional.linear, weight=self.layers[1].weight)
        self.turned = self.layers[2].weight.detach().T

    def forward(self, x: Tensor) -> Tensor:
        return self.bound(functional.linear(x, self.listed[0])) @ self.turned


class Remade(nn.Module):
    """Makes a view of its weight again where it is unpickled."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(512, 512)
        self.last = nn.Linear(512, 512)
        self.turned = self.inner.weight.detach().T

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "turned"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.turned = self.inner.weight.data.T

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x @ self.turned)


class Doubled(nn.Module):
    """Computes on its weights where it is unpickled."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(512, 512) for _ in range(3))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.doubled = [layer.weight.detach() * 2 for layer in self.layers]

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            doubled = self.doubled[number] if hasattr(self, "doubled") else layer.weight * 2
            x = layer(x) @ doubled
        return x
