"""RegNetY-8GF (Radosavovic et al., 2020) with the parameter names of torchvision's checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from architectures.initial import draw_convolutions, draw_linear


@dataclass(frozen=True)
class RegNetConfig:
    """Blocks and channels of the four stages; the defaults are RegNetY-8GF's (39.4 M parameters).

    `group` is the channels of one group of a 3x3 convolution, `squeeze` the part of a block's input channels
    that its squeeze-excitation keeps.
    """

    depths: tuple[int, ...] = (2, 4, 10, 1)
    widths: tuple[int, ...] = (224, 448, 896, 2016)
    group: int = 56
    squeeze: float = 0.25
    stem: int = 32
    classes: int = 1000


REGNET_Y_8GF = RegNetConfig()


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (up to its stride), and its batch norm."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class SqueezeExcitation(nn.Module):
    """Scales each channel by a factor between 0 and 1 that all channels' means decide."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU(inplace=True)
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))


class Block(nn.Module):
    """1x1, grouped 3x3 (which carries the stride), squeeze-excitation, 1x1, plus the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, config: RegNetConfig) -> None:
        super().__init__()
        self.proj: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.proj = nn.Sequential(*conv_norm(inputs, outputs, 1, stride))
        self.f = nn.Sequential(
            OrderedDict(
                a=nn.Sequential(*conv_norm(inputs, outputs, 1), nn.ReLU(inplace=True)),
                b=nn.Sequential(
                    *conv_norm(outputs, outputs, 3, stride, outputs // config.group), nn.ReLU(inplace=True)
                ),
                se=SqueezeExcitation(outputs, round(inputs * config.squeeze)),
                c=nn.Sequential(*conv_norm(outputs, outputs, 1)),
            )
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.proj is None else self.proj(x)
        return self.activation(shortcut + self.f(x))


class RegNetY(nn.Module):
    """Normalised images (batch, 3, 224, 224), float32 -> logits (batch, classes)."""

    def __init__(self, config: RegNetConfig = REGNET_Y_8GF) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, config.stem, 3, 2), nn.ReLU(inplace=True))
        channels = config.stem
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True), start=1):
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            for block in range(depth):
                blocks[f"block{number}-{block}"] = Block(channels, width, 2 if block == 0 else 1, config)
                channels = width
            stages[f"block{number}"] = nn.Sequential(blocks)
        self.trunk_output = nn.Sequential(stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, config.classes)
        draw_convolutions(self)
        draw_linear(self, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.trunk_output(self.stem(x))).flatten(1))
