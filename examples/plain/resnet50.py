"""ResNet-50 logits, as `resnet50.py` beside this folder without Glowplug. A request is an image."""

from __future__ import annotations

import numpy as np
import torch

from architectures.imagenet import prepare
from architectures.resnet import ResNet50
from seeded import seeded_weights


def weights() -> dict[str, torch.Tensor]:
    return seeded_weights(ResNet50)


def build() -> torch.nn.Module:
    return ResNet50()


def setup() -> None:
    return None


def answer(model: torch.nn.Module, _tools: None, image: np.ndarray) -> list[float]:
    logits: list[float] = model(prepare(image))[0].tolist()
    return logits
