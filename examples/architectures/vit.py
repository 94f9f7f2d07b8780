"""Vision Transformer (Dosovitskiy et al., 2020) with the parameter names of torchvision's checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of one Vision Transformer, `image` and `patch` in pixels; the defaults are ViT-B/16 (86.6 M)."""

    image: int = 224
    patch: int = 16
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    classes: int = 1000
    epsilon: float = 1e-6


VIT_B16 = ViTConfig()


class SelfAttention(nn.Module):
    """Query, key and value in one matrix, named as torch's own MultiheadAttention names it."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * config.hidden, config.hidden))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * config.hidden))
        self.out_proj = nn.Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Normalise, attend, add; normalise, two linear layers, add."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.hidden, eps=config.epsilon)
        self.self_attention = SelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.hidden, eps=config.epsilon)
        # Published names count the dropouts, so the second linear layer is number 3.
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden, config.intermediate),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.Linear(config.intermediate, config.hidden),
            nn.Dropout(0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attention(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Class token and patches (batch, 1 + patches, hidden) -> the same shape, encoded."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        length = 1 + (config.image // config.patch) ** 2
        self.pos_embedding = nn.Parameter(torch.empty(1, length, config.hidden))
        blocks = ((f"encoder_layer_{k}", EncoderBlock(config)) for k in range(config.layers))
        self.layers = nn.Sequential(OrderedDict(blocks))
        self.ln = nn.LayerNorm(config.hidden, eps=config.epsilon)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(x + self.pos_embedding))


class VisionTransformer(nn.Module):
    """Normalised images (batch, 3, image, image), float32 -> logits (batch, classes)."""

    def __init__(self, config: ViTConfig = VIT_B16) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, config.hidden, config.patch, config.patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, config.hidden))
        self.encoder = Encoder(config)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(config.hidden, config.classes)))
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        token = self.class_token.expand(patches.shape[0], -1, -1)
        return self.heads(self.encoder(torch.cat([token, patches], dim=1))[:, 0])

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, SelfAttention):
                nn.init.xavier_uniform_(module.in_proj_weight)
                nn.init.zeros_(module.out_proj.bias)
            elif isinstance(module, EncoderBlock):
                for linear in (module.mlp[0], module.mlp[3]):
                    nn.init.xavier_uniform_(linear.weight)
                    nn.init.normal_(linear.bias, std=1e-6)
        fan_in = self.conv_proj.weight[0].numel()
        nn.init.trunc_normal_(self.conv_proj.weight, std=fan_in**-0.5)
        nn.init.zeros_(self.conv_proj.bias)
        # The head too: torchvision starts it at zero, and then every image would have the same answer.
        for table in (self.class_token, self.encoder.pos_embedding, self.heads.head.weight):
            nn.init.trunc_normal_(table, std=0.02)
        nn.init.zeros_(self.heads.head.bias)
