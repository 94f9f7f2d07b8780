"""transformers: `from_pretrained` of a checkpoint folder, with its own classes for the same architecture."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import sys

from torch import Tensor, nn
from transformers.utils import logging

from .loop import Build, Mark, serve
from .transformers_configs import FAMILY


def main() -> None:
    model_class, _ = FAMILY[sys.argv[1]]

    def load(_build: Build, weights: str, mark: Mark) -> nn.Module:
        module: nn.Module = model_class.from_pretrained(weights, local_files_only=True)
        module.eval()
        mark("load")
        return module

    serve(load, answer)


def answer(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Hidden states (batch, length, hidden) of an encoder, logits (batch, 1, words) of a decoder."""
    (input_ids,) = inputs
    if module.config.model_type == "gpt2":  # type: ignore[union-attr]
        logits: Tensor = module(input_ids, use_cache=False, logits_to_keep=1).logits
        return logits
    hidden: Tensor = module(input_ids).last_hidden_state
    return hidden


if __name__ == "__main__":
    logging.disable_progress_bar()
    main()
