"""GPT-2 (Radford et al., 2019) with the parameter names of Hugging Face's GPT2LMHeadModel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DEVIATION = 0.02


@dataclass(frozen=True)
class GPT2Config:
    """Sizes of one GPT-2; the defaults are those of the smallest published one (124 M parameters)."""

    hidden: int = 768
    layers: int = 12
    heads: int = 12
    vocabulary: int = 50257
    positions: int = 1024
    epsilon: float = 1e-5


GPT2_SMALL = GPT2Config()


class Conv1D(nn.Module):
    """A linear layer whose weight is (inputs, outputs), as GPT-2's checkpoints have it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.flatten(0, 1), self.weight).unflatten(0, x.shape[:2])


class Attention(nn.Module):
    """Every token attends to itself and to those before it."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.c_attn = Conv1D(config.hidden, 3 * config.hidden)
        self.c_proj = Conv1D(config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.c_attn(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.c_proj(attended.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.c_fc = Conv1D(config.hidden, 4 * config.hidden)
        self.c_proj = Conv1D(4 * config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """Normalise, attend, add; normalise, MLP, add."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.hidden, eps=config.epsilon)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.hidden, eps=config.epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Token ids (batch, length), int64 -> hidden states (batch, length, hidden)."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocabulary, config.hidden)
        self.wpe = nn.Embedding(config.positions, config.hidden)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.hidden, eps=config.epsilon)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.wte(input_ids) + self.wpe.weight[: input_ids.shape[1]]
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class GPT2(nn.Module):
    """Token ids (batch, length), int64, unpadded -> logits of the next one (batch, vocabulary), float32."""

    def __init__(self, config: GPT2Config = GPT2_SMALL) -> None:
        super().__init__()
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.hidden, config.vocabulary, bias=False)
        self._initialise(config)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.lm_head(self.transformer(input_ids)[:, -1])

    def _initialise(self, config: GPT2Config) -> None:
        for module in self.transformer.modules():
            if isinstance(module, Conv1D | nn.Embedding):
                nn.init.normal_(module.weight, 0.0, DEVIATION)
        # Two projections a block add to the residual: its variance shall not grow with their number.
        for name, parameter in self.transformer.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, 0.0, DEVIATION / (2 * config.layers) ** 0.5)
