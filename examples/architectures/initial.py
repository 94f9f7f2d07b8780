"""First values of weights, drawn as torchvision draws them: building a model costs what it costs there."""

from __future__ import annotations

from torch import nn


def draw_convolutions(root: nn.Module) -> None:
    """Every convolution below `root`, in place: Kaiming-normal weights by fan-out, biases zero."""
    for module in root.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def draw_linear(root: nn.Module, deviation: float) -> None:
    """Every linear layer below `root`, in place: normal weights around 0, biases zero."""
    for module in root.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
