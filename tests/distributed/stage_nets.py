"""Small models of the usual shapes, and some that cannot be cut."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Layer(nn.Module):
    def __init__(self, width: int, returns: int = 0) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        self.returns = returns

    def forward(self, hidden: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Any:
        inner = torch.relu(self.up(hidden))
        if mask is not None:
            inner = inner * mask
        found = self.norm(hidden + scale * self.down(inner))
        return (found, *[None] * (self.returns - 1)) if self.returns else found


class Transformer(nn.Module):
    """Embeddings, layers that all get the same mask, a head."""

    def __init__(self, returns: int = 0, *, named: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.layers = nn.ModuleList(Layer(16, returns) for _ in range(6))
        self.head = nn.Linear(16, 4)
        self.named = named

    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens > 3)[..., None].float()
        hidden = self.embed(tokens)
        for layer in self.layers:
            found = layer(hidden=hidden, mask=mask) if self.named else layer(hidden, mask, scale=0.5)
            hidden = found[0] if isinstance(found, tuple) else found
        return self.head(hidden.mean(1))


class Convolutions(nn.Module):
    """A CNN with work in place, strides that are not the usual ones, and a flattening."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for _ in range(4):
            blocks += [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout()]
        self.stem = nn.Conv2d(3, 4, 3)
        self.features = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Linear(16, 3)

    def forward(self, image: Tensor) -> Tensor:
        image = image.to(memory_format=torch.channels_last)
        return self.classifier(torch.flatten(self.pool(self.features(self.stem(image))), 1))


def layers() -> nn.Module:
    return nn.Sequential(*(nn.Linear(16, 16) for _ in range(6)))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class Skips(nn.Module):
    """What passes from the first to the second is used again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first(x)
        return inner + self.second(inner)


class Peeking(nn.Module):
    """Looks at what passes between its blocks when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor, peek: bool) -> Tensor:
        inner = self.second(self.first(x))
        if peek:
            inner = inner + 1
        return self.third(inner)


class Fails(nn.Module):
    """Raises in one of its blocks for large tokens."""

    def __init__(self, where: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.layers = nn.ModuleList(Checked(number == where) for number in range(6))

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embed(tokens) * 0 + tokens.sum()
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


class Checked(nn.Module):
    def __init__(self, checks: bool) -> None:
        super().__init__()
        self.checks, self.linear = checks, nn.Linear(16, 16)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.checks and hidden.max() > 300:
            raise ValueError("it is too large")
        return hidden + 0 * self.linear(hidden)


class Odd(nn.Module):
    """Returns what cannot be carried."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layers = nn.Embedding(50, 16), layers()

    def forward(self, tokens: Tensor) -> object:
        self.layers(self.embed(tokens))
        return object()


class Shifts(Transformer):
    """Works in place on what it is given."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens.add_(1).remainder_(50))


class Remembers(nn.Module):
    """Keeps on itself, for the end of its forward, what it had at the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layers, self.head = nn.Embedding(50, 16), layers(), nn.Linear(16, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        self.skip = self.embed(tokens)
        return self.head((self.layers(self.skip) + self.skip).mean(1))


class Overwrites(nn.Module):
    """Returns the same tensor each time, which it writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("held", torch.zeros(3, 16))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.held.copy_(hidden + 1)


class Hungry(nn.Module):
    """Asks torch for more memory than there are addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.empty(2**50)


class Waits(nn.Module):
    """Its first block says that it was called, and its last one waits until that was so often."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.first, self.rest, self.last = Says(folder), layers(), Patient(folder)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.last(self.rest(self.first(self.embed(tokens))))
        return hidden


class Says(nn.Module):
    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder, self.linear = folder, nn.Linear(16, 16)

    def forward(self, hidden: Tensor) -> Tensor:
        tempfile.mkstemp(dir=self.folder, prefix="called-")
        return self.linear(hidden)


class Patient(nn.Module):
    def __init__(self, folder: str, least: int = 3) -> None:
        super().__init__()
        self.folder, self.least, self.linear = Path(folder), least, nn.Linear(16, 16)
        self.waits = False

    def forward(self, hidden: Tensor) -> Tensor:
        until_s = time.monotonic() + 60
        while self.waits and len(list(self.folder.glob("called-*"))) < self.least:
            assert time.monotonic() < until_s, "nothing else is under way"
            time.sleep(0.01)
        return self.linear(hidden)


def tokens() -> tuple[Tensor]:
    return (torch.arange(20).reshape(2, 10) % 50,)


def image() -> tuple[Tensor]:
    return (torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1)),)


def vector(width: int) -> Callable[[], tuple[Tensor]]:
    return lambda: (torch.randn(3, width, generator=torch.Generator().manual_seed(1)),)


Case = tuple[Callable[[], nn.Module], Callable[[], Any]]
NETS: dict[str, Case] = {
    "transformer": (Transformer, tokens),
    "transformer of tuples": (lambda: Transformer(2), tokens),
    "transformer by name": (lambda: Transformer(1, named=True), tokens),
    "convolutions": (Convolutions, image),
    "layers": (layers, vector(16)),
}
UNCUTTABLE: dict[str, Case] = {
    "one_layer": (lambda: nn.Sequential(nn.Linear(8, 8)), vector(8)),
    "twice": (Twice, vector(8)),
    "skips": (Skips, vector(8)),
}
