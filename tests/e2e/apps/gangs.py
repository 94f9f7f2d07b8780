"""One small transformer, on one worker and on several; and models that cannot be spread."""

from __future__ import annotations

import os
import socket

import torch
from torch import nn

import glowplug

app = glowplug.App("gangs")
LAYERS, WIDTH = 6, 32


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        attended, _ = self.attention(hidden, hidden, hidden, need_weights=False)
        return self.norm(hidden + self.down(torch.nn.functional.gelu(self.up(attended))))


class Net(nn.Module):
    def __init__(self, skips: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.out = nn.Linear(WIDTH, 8)
        self.skips = skips

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(tokens)
        for layer in self.layers:
            hidden = layer(hidden) + (hidden if self.skips else 0) if self.skips else layer(hidden)
        return self.out(hidden)


def build(skips: bool = False) -> nn.Module:
    torch.manual_seed(7)
    return Net(skips)


class Asked:
    def build(self) -> nn.Module:
        return build()

    def example(self) -> dict[str, object]:
        return {"tokens": list(range(12))}

    @glowplug.endpoint
    def forward(self, tokens: list[int]) -> torch.Tensor:
        return self.model(torch.tensor([tokens]))  # type: ignore[attr-defined]

    @glowplug.endpoint
    def where(self) -> list[int]:
        """Its own process."""
        return [os.getpid()]

    @glowplug.endpoint
    def wait(self, port: int, tokens: list[int]) -> list[float]:
        """Answers when it is let go at the door."""
        with socket.create_connection(("127.0.0.1", port)) as door:
            door.sendall(f"{os.getpid()}\n".encode())
            door.recv(1)
        return self.model(torch.tensor([tokens])).flatten().tolist()  # type: ignore[attr-defined]


@app.model(libraries=["torch"], threads=1)
class One(Asked):
    pass


@app.model(libraries=["torch"], workers=2, threads=1, network=True, keep_warm="5m")
class Two(Asked):
    pass


@app.model(libraries=["torch"], workers=4, threads=1)
class Four(Asked):
    pass


@app.model(libraries=["torch"], workers=4, threads=1, network=True, target_concurrency=4)
class Several(Asked):
    pass


@app.model(libraries=["torch"], workers="auto", memory="200KB", threads=1)
class Capped(Asked):
    """Its weights are 317 KB."""


@app.model(libraries=["torch"], workers="auto", threads=1)
class Roomy(Asked):
    pass


@app.model(libraries=["torch"], workers="auto", memory="20KB", threads=1)
class Hopeless(Asked):
    pass


@app.model(libraries=["torch"], workers=2)
class Skipping(Asked):
    def build(self) -> nn.Module:
        return build(skips=True)


@app.model(libraries=["torch"], workers=2, memory="20KB")
class Tight(Asked):
    pass
