"""The architectures by name, with inputs for them. Importing this imports neither torch nor any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from torch import Tensor, nn

Input = Literal["image", "tokens"]

TOKENS = 32
FIRST_TOKEN, END_TOKEN = 1000, 30000
"""Ids of whole words in BERT's vocabulary; GPT-2's has them too."""


@dataclass(frozen=True)
class Entry:
    """One architecture. `builder` names what in `module` returns the model when called without arguments."""

    name: str
    module: str
    builder: str
    input: Input

    def build(self) -> nn.Module:
        """A fresh model, in training mode, its weights drawn from torch's generator."""
        build = cast("Callable[[], nn.Module]", getattr(import_module(self.module), self.builder))
        return build()

    def example(self) -> tuple[Tensor, ...]:
        """Positional arguments for one item, always the same: see `batched`."""
        return self.batched(1)

    def batched(self, count: int) -> tuple[Tensor, ...]:
        """Positional arguments: images (count, 3, 224, 224), float32, or token ids (count, 32), int64.

        Item k is the same in every batch that has one. torch's generator is left alone. Raises ValueError
        for a count below 1.
        """
        if count < 1:
            raise ValueError(f"count: want at least 1, got {count}")
        import torch

        return (torch.stack([self._item(number) for number in range(count)]),)

    def _item(self, number: int) -> Tensor:
        import torch

        generator = torch.Generator().manual_seed(number)
        if self.input == "image":
            return torch.randn(3, 224, 224, generator=generator)
        return torch.randint(FIRST_TOKEN, END_TOKEN, (TOKENS,), generator=generator)


ZOO: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("resnet50", "architectures.resnet", "ResNet50", "image"),
        Entry("resnet152", "architectures.resnet", "ResNet152", "image"),
        Entry("vgg16", "architectures.vgg", "VGG16", "image"),
        Entry("vgg19", "architectures.vgg", "VGG19", "image"),
        Entry("vit_b16", "architectures.vit", "VisionTransformer", "image"),
        Entry("bert_base", "architectures.bert", "bert_base", "tokens"),
        Entry("bert_large", "architectures.bert", "bert_large", "tokens"),
        Entry("gpt2", "architectures.gpt2", "GPT2", "tokens"),
        Entry("regnet", "architectures.regnet", "RegNetY", "image"),
        Entry("swin_t", "architectures.swin", "SwinTransformer", "image"),
        Entry("mobilenetv2", "architectures.mobilenet", "MobileNetV2", "image"),
        Entry("minilm", "architectures.bert", "minilm", "tokens"),
    )
}
