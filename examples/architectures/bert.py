"""BERT (Devlin et al., 2018) with the parameter names of its published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class BertConfig:
    """Sizes of one BERT; the defaults are BERT-base's (110 M parameters)."""

    hidden: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    token_types: int = 2
    epsilon: float = 1e-12


BERT_BASE = BertConfig()
BERT_LARGE = BertConfig(hidden=1024, layers=24, heads=16, intermediate=4096)
MINILM_L6 = BertConfig(hidden=384, layers=6, intermediate=1536)


class Embeddings(nn.Module):
    """Token ids (batch, length), int64 -> (batch, length, hidden)."""

    position_ids: Tensor

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocabulary, config.hidden)
        self.position_embeddings = nn.Embedding(config.positions, config.hidden)
        self.token_type_embeddings = nn.Embedding(config.token_types, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=config.epsilon)
        # Published checkpoints carry this buffer, so a strict load wants it to be a persistent one.
        self.register_buffer("position_ids", torch.arange(config.positions).unsqueeze(0))

    def forward(self, input_ids: Tensor) -> Tensor:
        words = self.word_embeddings(input_ids)
        positions = self.position_embeddings(self.position_ids[:, : input_ids.shape[1]])
        # A single segment: the row of token type 0 stands for every token.
        return self.LayerNorm(words + positions + self.token_type_embeddings.weight[0])


class SelfAttention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.hidden, config.hidden)
        self.value = nn.Linear(config.hidden, config.hidden)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        def by_head(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        attended = F.scaled_dot_product_attention(
            by_head(self.query(hidden)),
            by_head(self.key(hidden)),
            by_head(self.value(hidden)),
            attn_mask=mask,
        )
        return attended.transpose(1, 2).flatten(2)


class ProjectAddNorm(nn.Module):
    """A projection, the residual, a normalisation: the end of both halves of a layer."""

    def __init__(self, width: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=config.epsilon)

    def forward(self, inner: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(inner) + residual)


class Attention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = ProjectAddNorm(config.hidden, config)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        return self.output(self.self(hidden, mask), hidden)


class Intermediate(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.intermediate)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.gelu(self.dense(hidden))


class Layer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = ProjectAddNorm(config.intermediate, config)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        attended = self.attention(hidden, mask)
        return self.output(self.intermediate(attended), attended)


class Encoder(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layer:
            hidden = layer(hidden, mask)
        return hidden


class Pooler(nn.Module):
    """A sentence by its first token. Checkpoints carry it; mean pooling does not use it."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.hidden)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.dense(hidden[:, 0]))


class Bert(nn.Module):
    """Token ids (batch, length), int64 -> hidden states (batch, length, hidden), float32.

    `attention_mask`, where lengths differ, is (batch, length) with 1 at tokens and 0 at padding.
    """

    def __init__(self, config: BertConfig = BERT_BASE) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config)
        self._initialise()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        return self.encoder(self.embeddings(input_ids), mask)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, 0.0, 0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


def bert_base() -> Bert:
    return Bert(BERT_BASE)


def bert_large() -> Bert:
    return Bert(BERT_LARGE)


def minilm() -> Bert:
    return Bert(MINILM_L6)


def mean_pooled(hidden: Tensor) -> Tensor:
    """Hidden states of unpadded sentences (batch, length, hidden) -> unit vectors (batch, hidden)."""
    return F.normalize(hidden.mean(dim=1), dim=1)
