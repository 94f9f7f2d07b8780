"""Writes the file formats that only a peer's own library can write.

    python -m loading.convert tensorizer SAFETENSORS TARGET
    python -m loading.convert transformers ARCHITECTURE TARGET

The second takes no weights: its classes have parameters of their own, so the checkpoint in the folder TARGET
has seeded random ones.
"""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import sys

import torch
from safetensors.torch import load_file


def to_tensorizer(source: str, target: str) -> None:
    from tensorizer import TensorSerializer

    serializer = TensorSerializer(target)
    serializer.write_state_dict(load_file(source))
    serializer.close()


def to_transformers(architecture: str, target: str) -> None:
    from .transformers_configs import FAMILY

    model_class, config = FAMILY[architecture]
    torch.manual_seed(0)
    model_class(config).save_pretrained(target)


if __name__ == "__main__":
    {"tensorizer": to_tensorizer, "transformers": to_transformers}[sys.argv[1]](*sys.argv[2:])
