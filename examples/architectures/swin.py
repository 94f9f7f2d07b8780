"""Swin Transformer (Liu et al., 2021) with the parameter names of torchvision's checkpoints.

Its relative position index and its masks are buffers outside the state dict: a loader that builds on the meta
device and assigns a state dict leaves them without values. (torchvision's checkpoints carry the index.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKED = -100.0


@dataclass(frozen=True)
class SwinConfig:
    """Sizes of one Swin; the defaults are Swin-T's (28.3 M parameters).

    `image` and `patch` are sides in pixels, `window` is one in patches. Each stage after the first has half
    the side and twice the channels; `window` must divide every side.
    """

    image: int = 224
    patch: int = 4
    window: int = 7
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    classes: int = 1000
    epsilon: float = 1e-5


SWIN_T = SwinConfig()


def to_windows(x: Tensor, window: int) -> Tensor:
    """(batch, side, side, channels) -> (batch * windows, window**2, channels)."""
    tiled = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return tiled.transpose(2, 3).flatten(0, 2).flatten(1, 2)


def from_windows(x: Tensor, window: int, side: int) -> Tensor:
    """(batch * windows, window**2, channels) -> (batch, side, side, channels)."""
    count = side // window
    tiled = x.unflatten(1, (window, window)).unflatten(0, (-1, count, count))
    return tiled.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def relative_positions(window: int) -> Tensor:
    """The row of the bias table for each pair of places in a window: (window**4,), int64."""
    line = torch.arange(window)
    row, column = line.repeat_interleave(window), line.repeat(window)
    rows = row[:, None] - row + window - 1
    columns = column[:, None] - column + window - 1
    return (rows * (2 * window - 1) + columns).flatten()


def shift_mask(side: int, window: int, shift: int) -> Tensor:
    """What is added to attention after a cyclic shift: (windows, 1, window**2, window**2), float32.

    Places that the shift brought together from opposite edges of the image do not attend to each other.
    """
    line = torch.arange(side)
    region = (line >= side - window).long() + (line >= side - shift).long()
    label = to_windows((3 * region[:, None] + region)[None, :, :, None], window)
    return torch.where(label == label.transpose(1, 2), 0.0, BLOCKED).unsqueeze(1)


class Permute(nn.Module):
    """(batch, channels, side, side) -> (batch, side, side, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Self-attention inside windows, which `shift` moves by that many patches: (batch, side, side, width)."""

    relative_position_index: Tensor
    mask: Tensor | None

    def __init__(self, width: int, heads: int, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_positions(window), persistent=False)
        self.register_buffer("mask", shift_mask(side, window, shift) if shift else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, side = x.shape[:2]
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        projected = self.qkv(to_windows(x, self.window))
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=self._bias(batch))
        x = from_windows(self.proj(attended.transpose(1, 2).flatten(2)), self.window, side)
        return x.roll((self.shift, self.shift), (1, 2)) if self.shift else x

    def _bias(self, batch: int) -> Tensor:
        area = self.window**2
        bias = self.relative_position_bias_table[self.relative_position_index]
        bias = bias.unflatten(0, (area, area)).permute(2, 0, 1).unsqueeze(0)
        return bias if self.mask is None else (bias + self.mask).repeat(batch, 1, 1, 1)


class SwinBlock(nn.Module):
    """Normalise, attend in windows, add; normalise, two linear layers, add."""

    def __init__(self, width: int, heads: int, side: int, shift: int, config: SwinConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=config.epsilon)
        self.attn = WindowAttention(width, heads, side, config.window, shift)
        self.norm2 = nn.LayerNorm(width, eps=config.epsilon)
        # Published names count the dropouts, so the second linear layer is number 3.
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.Linear(4 * width, width),
            nn.Dropout(0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """(batch, side, side, width) -> (batch, side / 2, side / 2, 2 * width)."""

    def __init__(self, width: int, config: SwinConfig) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width, eps=config.epsilon)

    def forward(self, x: Tensor) -> Tensor:
        # Checkpoints want each 2x2 square column by column.
        squares = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(self.norm(squares))


class SwinTransformer(nn.Module):
    """Normalised images (batch, 3, image, image), float32 -> logits (batch, classes)."""

    def __init__(self, config: SwinConfig = SWIN_T) -> None:
        super().__init__()
        width, side = config.width, config.image // config.patch
        embedding = nn.Conv2d(3, width, config.patch, config.patch)
        features: list[nn.Module] = [
            nn.Sequential(embedding, Permute(), nn.LayerNorm(width, eps=config.epsilon))
        ]
        for number, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            if number:
                features.append(PatchMerging(width, config))
                width, side = 2 * width, side // 2
            # Every other block shifts by half a window; where one window is the whole image none does.
            half = config.window // 2 if side > config.window else 0
            blocks = (SwinBlock(width, heads, side, half * (k % 2), config) for k in range(depth))
            features.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*features)
        self.norm = nn.LayerNorm(width, eps=config.epsilon)
        self.head = nn.Linear(width, config.classes)
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.features(x)).mean(dim=(1, 2)))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
