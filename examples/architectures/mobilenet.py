"""MobileNetV2 (Sandler et al., 2018) with the parameter names of torchvision's checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from architectures.initial import draw_convolutions, draw_linear

STAGES = (
    # expansion, channels out, blocks, stride of the first block
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ConvNormReLU(nn.Sequential):
    """Convolution that keeps the size (up to its stride), batch norm, ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        widen = [ConvNormReLU(inputs, wide, kernel=1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *widen,
            ConvNormReLU(wide, wide, stride=stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Normalised images (batch, 3, 224, 224), float32 -> logits (batch, classes)."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        channels, last = 32, 1280
        features: list[nn.Module] = [ConvNormReLU(3, channels, stride=2)]
        for expansion, outputs, blocks, stride in STAGES:
            for block in range(blocks):
                features.append(InvertedResidual(channels, outputs, stride if block == 0 else 1, expansion))
                channels = outputs
        features.append(ConvNormReLU(channels, last, kernel=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))
        draw_convolutions(self)
        draw_linear(self, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        # oneDNN's depthwise kernels are faster on channels-last input, and the layout then stays to the end.
        x = x.contiguous(memory_format=torch.channels_last)
        return self.classifier(self.features(x).mean(dim=(2, 3)))
