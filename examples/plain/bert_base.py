"""BERT-base encodings, as `bert_base.py` beside this folder without Glowplug. A request is token ids."""

from __future__ import annotations

import torch

from architectures.bert import BERT_BASE, Bert, mean_pooled
from seeded import seeded_weights


def weights() -> dict[str, torch.Tensor]:
    return seeded_weights(build)


def build() -> torch.nn.Module:
    return Bert(BERT_BASE)


def setup() -> None:
    return None


def answer(model: torch.nn.Module, _tools: None, tokens: list[int]) -> list[float]:
    encoding: list[float] = mean_pooled(model(torch.tensor([tokens])))[0].tolist()
    return encoding
