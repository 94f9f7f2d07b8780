"""Models in all the ways a model can be declared; each has one right answer, known to the tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import glowplug

app = glowplug.App("nets")


def linear(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(4, 3)


@app.model(libraries=["torch"], weights=lambda: dict(linear(1).state_dict()))
class Plain:
    def build(self) -> nn.Module:
        return nn.Linear(4, 3)

    def example(self) -> dict[str, object]:
        return {"x": np.zeros((2, 4), np.float32)}

    @glowplug.endpoint
    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.model(torch.from_numpy(x.astype(np.float32))).numpy()  # type: ignore[attr-defined]

    @glowplug.endpoint
    def scaled(self, x: torch.Tensor, factor: float) -> torch.Tensor:
        return self.model(x.float()) * factor  # type: ignore[attr-defined]

    @glowplug.endpoint
    def doubled(self, factor: float = 2.0, x: torch.Tensor = None) -> torch.Tensor:  # type: ignore[assignment]
        return self.model(x) * factor  # type: ignore[attr-defined]

    @glowplug.endpoint
    def both(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"x": x, "y": self.model(x)}  # type: ignore[attr-defined]


@app.model(libraries=["torch"], weights=lambda: dict(linear(1).state_dict()))
class Local:
    """Its module's class cannot be pickled: it is local to a function."""

    def build(self) -> nn.Module:
        class Hidden(nn.Linear):
            pass

        return Hidden(4, 3)

    def example(self) -> dict[str, object]:
        return {"x": np.zeros((2, 4), np.float32)}

    @glowplug.endpoint
    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.model(torch.from_numpy(x.astype(np.float32))).numpy()  # type: ignore[attr-defined]


@app.model(libraries=["torch"])
class SetUp:
    """The code people already have: everything in setup()."""

    def setup(self) -> None:
        self.net = linear(1).eval()
        self.names = ["a", "b", "c"]

    def example(self) -> dict[str, object]:
        return {"x": np.zeros((2, 4), np.float32)}

    @glowplug.endpoint
    def forward(self, x: np.ndarray) -> np.ndarray:
        assert self.names[2] == "c"
        return self.net(torch.from_numpy(x.astype(np.float32))).numpy()
