"""VGG-16 and VGG-19 (Simonyan and Zisserman, 2014), no batch norm, with torchvision's parameter names."""

from __future__ import annotations

from torch import Tensor, nn

from architectures.initial import draw_convolutions, draw_linear

CHANNELS = (64, 128, 256, 512, 512)
PIXELS = 7


class VGG(nn.Module):
    """Normalised images (batch, 3, 224, 224), float32 -> logits (batch, classes).

    `convolutions` says how many stand before each of the five poolings.
    """

    def __init__(self, convolutions: tuple[int, int, int, int, int], classes: int = 1000) -> None:
        super().__init__()
        inputs = 3
        features: list[nn.Module] = []
        for count, outputs in zip(convolutions, CHANNELS, strict=True):
            for _ in range(count):
                features += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
            features.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d((PIXELS, PIXELS))
        self.classifier = nn.Sequential(
            nn.Linear(inputs * PIXELS * PIXELS, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, classes),
        )
        draw_convolutions(self)
        draw_linear(self, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class VGG16(VGG):
    """138.4 M parameters, nine tenths of them in the classifier."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__((2, 2, 3, 3, 3), classes)


class VGG19(VGG):
    """143.7 M parameters."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__((2, 2, 4, 4, 4), classes)
