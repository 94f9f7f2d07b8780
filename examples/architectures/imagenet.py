"""What goes into an ImageNet classifier and what comes out of it, with torch alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
SHORT_SIDE, CROP = 256, 224


def prepare(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """RGB pixels (height, width, 3), uint8 -> (1, 3, 224, 224): shorter side 256, centre crop, normalised."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image: want uint8 of shape (height, width, 3), got {image.dtype} of {image.shape}")
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1).unsqueeze(0)
    height, width = image.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    size = (max(CROP, round(height * scale)), max(CROP, round(width * scale)))
    pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    top, left = (size[0] - CROP) // 2, (size[1] - CROP) // 2
    pixels = pixels[:, :, top : top + CROP, left : left + CROP] / 255
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)


def top_classes(logits: Tensor, names: list[str], count: int = 5) -> list[dict[str, str | float]]:
    """Logits (1, classes) -> the likeliest classes, best first."""
    best = logits[0].softmax(dim=0).topk(count)
    return [
        {"label": names[index], "probability": probability}
        for index, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
