"""Sentence embeddings in batches: `embedder.py`, where one pass answers up to eight requests.

A request still sends one text and gets one embedding; those that come together run together.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

import glowplug
from embedder import Embedder, weights

app = glowplug.App("batches")


@app.model(name="batches", weights=weights, libraries=["torch", "tokenizers"], memory="512MB")
class Batches(Embedder):
    @glowplug.endpoint(max_batch=8, max_wait_ms=2)
    def embed(self, text: list[str]) -> list[list[float]]:
        """The unit vector (384 numbers) of each text; shorter ones are padded, and the padding masked."""
        tokens = [self.tokenizer.encode(one).ids for one in text]
        longest = max(map(len, tokens))
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids in tokens])
        mask = torch.tensor([[1.0] * len(ids) + [0.0] * (longest - len(ids)) for ids in tokens])
        hidden = self.model(padded, mask) * mask[..., None]
        embeddings: list[list[float]] = F.normalize(hidden.sum(1), dim=1).tolist()
        return embeddings
