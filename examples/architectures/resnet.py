"""ResNet-50 and ResNet-152 (He et al., 2015) with the parameter names of torchvision's checkpoints."""

from __future__ import annotations

from torch import Tensor, nn

from architectures.initial import draw_convolutions

WIDENING = 4


class Bottleneck(nn.Module):
    """1x1 narrow, 3x3 (which carries the stride), 1x1 wide, plus the shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * WIDENING
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + shortcut)


def stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """`blocks` bottlenecks; only the first changes size and channels."""
    rest = (Bottleneck(width * WIDENING, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)


class ResNet(nn.Module):
    """Normalised images (batch, 3, 224, 224), float32 -> logits (batch, classes)."""

    def __init__(self, blocks: tuple[int, int, int, int], classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = stage(64, 64, blocks[0], 1)
        self.layer2 = stage(256, 128, blocks[1], 2)
        self.layer3 = stage(512, 256, blocks[2], 2)
        self.layer4 = stage(1024, 512, blocks[3], 2)
        self.fc = nn.Linear(2048, classes)
        draw_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


class ResNet50(ResNet):
    """25.6 M parameters."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__((3, 4, 6, 3), classes)


class ResNet152(ResNet):
    """60.2 M parameters."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__((3, 8, 36, 3), classes)
