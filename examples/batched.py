"""Sentence embeddings in batches: requests that come together share one forward of the model.

Each request still sends one text and gets one vector, and a lone request does not wait for company.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

import glowplug
from embedder import Embedder, weights

app = glowplug.App("batched")


@app.model(weights=weights, libraries=["torch", "tokenizers"], memory="512MB", keep_warm="5m")
class BatchedEmbedder(Embedder):
    @glowplug.endpoint(max_batch=16, max_wait_ms=2)
    def embed(self, text: list[str]) -> list[list[float]]:
        """The unit vector (384 numbers) of each text, of which the first 256 tokens count."""
        found = [self.tokenizer.encode(each).ids for each in text]
        longest = max(map(len, found))
        tokens = torch.tensor([ids + [0] * (longest - len(ids)) for ids in found])
        mask = torch.tensor([[1.0] * len(ids) + [0.0] * (longest - len(ids)) for ids in found])
        hidden = self.model(tokens, mask) * mask[:, :, None]
        vectors: list[list[float]] = F.normalize(hidden.sum(dim=1), dim=1).tolist()
        return vectors
