"""ResNet-50, 25.6 M parameters, seeded random weights: `weights` may return a state dict."""

from __future__ import annotations

import numpy as np
import torch

import glowplug
from architectures.imagenet import prepare
from architectures.resnet import ResNet50
from seeded import seeded_weights

app = glowplug.App("resnet50")


def weights() -> dict[str, torch.Tensor]:
    return seeded_weights(ResNet50)


@app.model(weights=weights, libraries=["torch", "numpy"], memory="1GB")
class Resnet50:
    def build(self) -> torch.nn.Module:
        return ResNet50()

    def example(self) -> dict[str, np.ndarray]:
        return {"image": np.zeros((224, 224, 3), dtype=np.uint8)}

    @glowplug.endpoint
    def logits(self, image: np.ndarray) -> torch.Tensor:
        """RGB pixels (height, width, 3), uint8 -> 1000 logits, float32."""
        result: torch.Tensor = self.model(prepare(image))[0]
        return result
