"""transformers' own classes and configurations of the architectures that it has too."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from typing import Any

from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

FAMILY: dict[str, tuple[Any, Any]] = {
    "bert_base": (BertModel, BertConfig()),
    "bert_large": (
        BertModel,
        BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
    ),
    "gpt2": (GPT2LMHeadModel, GPT2Config()),
}
"""Architecture -> (class, configuration); both defaults are those of the published base models."""
