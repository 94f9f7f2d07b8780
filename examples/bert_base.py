"""BERT-base, 109 M parameters, with seeded random weights made at deploy. It takes token ids."""

from __future__ import annotations

import torch

import glowplug
from architectures.bert import BERT_BASE, Bert, mean_pooled
from seeded import seeded_weights

app = glowplug.App("bert-base")


def build() -> Bert:
    return Bert(BERT_BASE)


def weights() -> dict[str, torch.Tensor]:
    return seeded_weights(build)


@app.model(weights=weights, libraries=["torch"], memory="1500MB")
class BertBase:
    def build(self) -> torch.nn.Module:
        return build()

    def example(self) -> dict[str, list[int]]:
        return {"tokens": list(range(1000, 1032))}

    @glowplug.endpoint
    def encode(self, tokens: list[int]) -> torch.Tensor:
        """At most 512 token ids -> a unit vector of 768 numbers, float32."""
        return mean_pooled(self.model(torch.tensor([tokens])))[0]
